"""The command line: one module for each group of commands. ``--help`` loads neither PyTorch nor PortAudio."""

from specdiffd.cli.entry import app, main

__all__ = ["app", "main"]
