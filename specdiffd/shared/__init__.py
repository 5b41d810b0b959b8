"""Memory between processes: rings of events, and the audio timeline."""
