"""What is a network? Architectures as plain data, their cost, their modules, spaces of them."""
