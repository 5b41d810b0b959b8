"""The engine process: score to frames to audio to splices."""
