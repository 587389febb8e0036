"""Searches from pretrained weights: sub-networks of a trained parent, found and fine-tuned."""
