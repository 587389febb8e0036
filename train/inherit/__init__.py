"""Smaller networks that inherit the weights of a trained one."""
