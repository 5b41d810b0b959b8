"""The reference synthesizer, FluidSynth, and music to render with it: for training and evaluation."""
