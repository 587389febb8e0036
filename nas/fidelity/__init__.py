"""Which short training ranks networks as a long one does? `python -m nas.fidelity`."""
