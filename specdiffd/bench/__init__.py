"""Measurements of speed: one revision's waterfall, offline rendering."""
