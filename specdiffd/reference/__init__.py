"""What the instrument is measured against and learns from: FluidSynth, and generated music."""
