"""Log-mel frames to audio, streaming: the built-in vocoder and ONNX files.

The built-in vocoder is a generator of the MelGAN family that ends in a bank of sinusoids and a noise source. There is one sinusoid
per mel bin, free to move within the neighbourhood of the bin, and noise with a short-time spectrum. A stack of convolutions that ends
in an inverse STFT or in transposed convolutions cannot make tones: it answers a steady mel with a waveform that repeats at the frame
rate, so it misses every steady pitch that is no multiple of that rate. Here phases are integrals of predicted frequencies (as in DDSP,
arXiv 2001.04643).

- `streaming`: the vocoder itself. Frames in, hops out, and the state between them (`state`).
- `networks`: what the mel and the score's guide (`frames`) say of amplitudes, frequencies and noise.
- `tones`, `noise`, `levels`: the signal processing, with `onset_gate` and `limits`. Training differentiates the torch form. The file
  beside it, whose name ends in ``_kernels``, computes the same in compiled loops, which play on a CPU.
- `onnx`: the vocoder of a published checkpoint.
"""
