"""What did we measure? One question a file, its results beside it."""
