"""Where curves of a training go beside its folder: TensorBoard, MLflow, Weights & Biases, Trackio.

One file a logger, and `catalog` with their names. None of them can stop a training: one that fails
is reported once and left out.
"""
