"""The scope: who is asking, and what is current where."""
