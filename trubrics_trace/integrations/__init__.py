"""The doors: one small file for each framework, which only that file imports."""
