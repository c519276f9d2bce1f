"""The doors: each framework has a small file, which alone imports it."""
