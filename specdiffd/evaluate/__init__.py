"""Compares an instrument with FluidSynth: note transcription, spectral distances. Needs the extra ``evaluate``."""
