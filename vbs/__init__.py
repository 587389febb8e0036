"""Base package of all commands: options, results folders, processes, terminal text, HTML pages."""
