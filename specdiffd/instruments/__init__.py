"""Checkpoints, and what plays them."""
