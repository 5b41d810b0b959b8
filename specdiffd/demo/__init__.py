"""A performance to hear the daemon by: composed for it, played into its own MIDI port."""
