"""The process that owns MIDI ports and the audio stream, and the memory it shares with the engine. No torch here."""
