"""Search strategies: functions of the history of a search that return the next proposals."""
