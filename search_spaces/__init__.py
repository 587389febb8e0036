"""What is a network? Architectures as plain data, their exact cost, their modules, and spaces of them."""
