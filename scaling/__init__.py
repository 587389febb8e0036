"""How does a network grow? Compound scaling and families."""
