"""Sound files of more bytes than a WAV file can count."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from specdiffd.dsp.files import WAV_BYTES, sound_file

RATE, CHANNELS = 48000, 2
LONGEST = WAV_BYTES // (2 * CHANNELS)  # samples of 16 bits that a WAV file can count


@pytest.mark.parametrize(("samples", "kind"), [(LONGEST, "WAV"), (LONGEST + 1, "RF64")])
def test_a_rendering_that_a_wav_file_cannot_count_is_rf64(tmp_path: Path, samples: int, kind: str) -> None:
    with sound_file(tmp_path / "a.wav", RATE, CHANNELS, samples) as file:
        file.write(np.zeros((100, CHANNELS), np.float32))
    assert soundfile.info(tmp_path / "a.wav").format == kind


@pytest.mark.slow
def test_all_of_a_rendering_past_four_gibibytes_is_counted(tmp_path: Path) -> None:
    samples, piece = LONGEST + RATE, np.zeros((1 << 22, CHANNELS), np.int16)
    with sound_file(tmp_path / "a.wav", RATE, CHANNELS, samples) as file:
        for first in range(0, samples, len(piece)):
            file.write(piece[: samples - first])
    assert soundfile.info(tmp_path / "a.wav").frames == samples
