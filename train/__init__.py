"""How good is a network? Data, recipes and the training loop."""
