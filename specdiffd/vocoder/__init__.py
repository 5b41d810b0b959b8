"""Log-mel frames to audio, streaming."""
