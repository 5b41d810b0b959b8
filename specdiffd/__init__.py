"""specdiffd: a daemon that plays live MIDI through Spectrogram Diffusion."""

__version__ = "0.1.0"
