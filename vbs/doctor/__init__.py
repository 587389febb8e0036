"""`vbs doctor`: report the packages, devices and folders of this installation, and problems."""
