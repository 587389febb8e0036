"""Steps of `experiments.gpu_check`, one file each, and the modules that run and record them."""
