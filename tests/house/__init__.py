"""The rules of the house, and figures about it."""
