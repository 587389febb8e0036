"""What all commands share: results folders, command lines, processes, text for terminals."""
