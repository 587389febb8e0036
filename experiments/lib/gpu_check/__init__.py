"""The steps of `experiments.gpu_check`, a file each, and what runs and records them."""
