"""Networks as plain data: architectures, their cost, their torch modules, and search spaces."""
