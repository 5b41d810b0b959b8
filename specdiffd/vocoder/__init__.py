"""Log-mel frames to audio, streaming: the built-in vocoder and ONNX files.

The built-in vocoder is a generator of the MelGAN family that ends in a bank of sinusoids and a noise source. Each mel bin has one
sinusoid, whose frequency may leave the bin by half a bin. A stack of convolutions that ends in an inverse STFT or in transposed
convolutions cannot make tones: for a steady mel its waveform repeats at the frame rate, so steady pitches that are not multiples of that
rate are wrong. Here phases are integrals of predicted frequencies (as in DDSP, arXiv 2001.04643).

- `streaming`: the vocoder itself. Frames in, hops out, and the state between them (`state`).
- `networks`: from the mel and the score's guide (`frames`) to amplitudes, frequencies and noise.
- `tones`, `noise`, `levels`: the signal processing, with `onset_gate` and `limits`, in torch to train. Beside each, a file whose name
  ends in ``_kernels`` has the same as compiled loops, to play on a CPU.
- `onnx`: the vocoder of a published checkpoint.
"""
