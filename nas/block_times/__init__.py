"""How long networks take, from the times of their blocks: `python -m nas.block_times`."""
