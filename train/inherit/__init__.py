"""Weight inheritance: smaller networks that take their weights from a trained one."""
