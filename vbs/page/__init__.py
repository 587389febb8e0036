"""Pages in HTML that a run ends with: one file that needs nothing beside it and no network."""
