"""Ray: connections to it, and pools of processes that run jobs."""
