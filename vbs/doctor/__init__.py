"""What this installation consists of, and what is missing: `vbs doctor`."""
