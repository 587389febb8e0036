"""Loggers that send a training's curves elsewhere: TensorBoard, MLflow, Weights & Biases, Trackio.

Each logger has its own module; `catalog` lists their names. Loggers never stop a training: one that
fails is reported once and then left out.
"""
