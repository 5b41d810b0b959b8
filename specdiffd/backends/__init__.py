"""Backends that run networks: PyTorch, or OpenVINO."""
