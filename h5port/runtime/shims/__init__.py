"""Modules for what torch.nn has not, or computes otherwise. `model.py` carries the text of those it needs."""
