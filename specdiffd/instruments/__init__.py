"""Instruments: checkpoints, loading, and rendering with them."""
