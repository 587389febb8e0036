"""Search the sub-networks of a trained parent, and fine-tune what is found."""
