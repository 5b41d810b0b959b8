"""Listening by measurement: note transcription, spectral distances. Needs the extra ``evaluate``."""
