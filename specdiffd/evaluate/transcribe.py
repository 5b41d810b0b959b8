"""Note F1: the notes that a transcription network (basic-pitch) finds in audio, compared with those that were played."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import soundfile
from numpy.typing import NDArray

from specdiffd.base.events import Performance

ONSET_TOLERANCE_S = 0.05


@lru_cache
def _model() -> Any:
    logging.getLogger().addFilter(
        lambda record: "install" not in record.getMessage()
    )  # basic-pitch logs every back end that is not installed
    import basic_pitch
    from basic_pitch.inference import Model

    path = next(Path(str(basic_pitch.__file__)).parent.glob("saved_models/**/*.onnx"))
    return Model(str(path))


def transcribe(audio: NDArray[np.float32], rate_hz: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The notes that the network finds: intervals (N, 2) in seconds and pitches (N,) in Hz."""
    from basic_pitch.inference import predict

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "audio.wav"
        soundfile.write(path, audio, rate_hz, subtype="FLOAT")
        _, _, notes = predict(path, _model())
    return _arrays([(start, end, pitch) for start, end, pitch, *_ in notes])


def played(performance: Performance, until_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The pitched notes of a performance that begin before ``until_s``: intervals (N, 2) in seconds and pitches (N,) in Hz."""
    return _arrays(
        [
            (n.onset_s, max(n.onset_s + 0.02, min(n.offset_s, until_s)), n.pitch)
            for n in performance.notes
            if not n.is_drum and n.onset_s < until_s
        ]
    )


def note_f1(truth: tuple[NDArray[np.float64], NDArray[np.float64]], heard: tuple[NDArray[np.float64], NDArray[np.float64]]) -> float:
    """F1 of notes with onset within 50 ms and pitch within 50 cents (mir_eval, offsets ignored)."""
    if not len(truth[1]) or not len(heard[1]):
        return 0.0
    scores = mir_eval.transcription.precision_recall_f1_overlap(*truth, *heard, onset_tolerance=ONSET_TOLERANCE_S, offset_ratio=None)
    return float(scores[2])


def _arrays(notes: list[tuple[float, float, int]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    table = np.array(sorted(notes), np.float64).reshape(-1, 3)
    return table[:, :2], 440.0 * 2.0 ** ((table[:, 2] - 69) / 12)
