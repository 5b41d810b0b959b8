"""MIDI messages and files to a score."""
