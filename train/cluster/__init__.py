"""Connections to Ray, and pools of processes that run jobs."""
