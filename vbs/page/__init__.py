"""HTML reports: single files that contain all scripts and images and load nothing from outside."""
