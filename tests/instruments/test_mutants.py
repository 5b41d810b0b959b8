"""Damaged input ends in a result or in an error that says what is wrong: never in a traceback, a hang or full memory."""

import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from specdiffd.base.errors import CheckpointError, MidiFileError
from specdiffd.base.formats import MelFormat
from specdiffd.base.instrument import RenderSettings
from specdiffd.instruments.layout import PICKLED_WEIGHTS, WEIGHTS
from specdiffd.instruments.loading import load_instrument
from specdiffd.instruments.published import PublishedInstrument
from specdiffd.midi.file import read_song
from specdiffd.midi.published import published_performance
from specdiffd.midi.score import Score
from specdiffd.tokens.codec import Codec
from specdiffd.tokens.window import song_windows

GOLDENS = Path(__file__).parents[1] / "goldens"
SONGS = sorted((GOLDENS / "songs").glob("*.mid"))
LONGEST_S = 20.0
MOST_BYTES = 1 << 30  # on top of the memory in use before


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut out, repeated, or the end cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8, 40])):
        at = rng.randrange(len(changed))
        match rng.randrange(6):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at] = rng.choice([0x00, 0x7F, 0x80, 0xFF, 0xF0, 0x51])
            case 2:
                changed[at : at + rng.randrange(1, 9)] = b""
            case 3:
                changed[at:at] = changed[at : at + rng.randrange(1, 40)]
            case 4:
                changed[at : at + 4] = rng.randbytes(4)
            case _:
                if rng.random() < 0.3:
                    changed = changed[: max(1, at)]
        if not changed:
            return b"M"
    return bytes(changed)


def memory(field: str) -> int:
    """A field of this process's status, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def outcomes(count: int, one: Callable[[random.Random], str]) -> Counter[str]:
    """Outcomes of ``count`` mutants; each must end in time, and all within the memory limit."""
    rng, found = random.Random(count), Counter[str]()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now on: other tests have run in this process
    before = memory("VmRSS")
    for _ in range(count):
        started = time.monotonic()
        found[one(rng)] += 1
        assert time.monotonic() - started < LONGEST_S
    assert memory("VmHWM") - before < MOST_BYTES
    return found


def check_song(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    try:
        song = read_song(path)
        performances = [Score().extend(song.events).performance._replace(length_s=song.end_s)]
        if all(len(p.notes) < 2000 for p in performances):
            performances.append(published_performance(path))
        for performance in performances:
            for window in song_windows(performance, MelFormat(), 256, Codec()):
                assert all(0 <= i < 1391 for i in window.ids)
                assert len(window.ids) <= 2048
        return "read" if not song.warnings else "mended"
    except MidiFileError as error:
        assert path.name in str(error)
        return "refused"


def mutate_songs(count: int, folder: Path) -> Counter[str]:
    return outcomes(count, lambda rng: check_song(folder / "mutant.mid", mutated(rng.choice(SONGS).read_bytes(), rng)))


def test_mutated_songs(tmp_path: Path) -> None:
    found = mutate_songs(60, tmp_path)
    assert found["mended"] > 5
    assert found["refused"] > 5


@pytest.mark.slow
def test_a_thousand_mutated_songs(tmp_path: Path) -> None:
    found = mutate_songs(1000, tmp_path)
    assert min(found.values()) > 100


# -- checkpoints -------------------------------------------------------------------------------------------------


def mutate_checkpoint(folder: Path, rng: random.Random) -> None:
    """One file of the checkpoint changed: bytes, cuts, keys, shapes, values."""
    file = rng.choice(sorted(p for p in folder.rglob("*") if p.is_file()))
    if file.name == WEIGHTS and rng.random() < 0.6:
        weights = load_file(file)
        save_file(mutate_weights(weights, rng), file)
    elif file.name == PICKLED_WEIGHTS and rng.random() < 0.6:
        torch.save(mutate_weights(torch.load(file, weights_only=True), rng), file)
    elif file.suffix == ".json" and rng.random() < 0.6:
        content = json.loads(file.read_text())
        key = rng.choice(sorted(content))
        content[key] = rng.choice([None, -1, 0, 7, 10**12, 1e300, "x", [], {}, True, [["a"]], 0.5])
        if rng.random() < 0.3:
            del content[key]
        file.write_text(json.dumps(content))
    elif rng.random() < 0.1:
        file.unlink()
    else:
        file.write_bytes(mutated(file.read_bytes(), rng))


def mutate_weights(weights: dict[str, torch.Tensor], rng: random.Random) -> dict[str, torch.Tensor]:
    key = rng.choice(sorted(weights))
    value = weights[key]
    match rng.randrange(6):
        case 0:
            weights[f"{key}.renamed"] = weights.pop(key)
        case 1:
            del weights[key]
        case 2:
            weights[key] = value[:-1].clone()
        case 3:
            weights[key] = value[None].clone()
        case 4:
            weights[key] = value.to(torch.int32)
        case _:
            weights[key] = value * float("nan")
    return weights


def check_checkpoint(folder: Path) -> str:
    try:
        instrument = load_instrument(str(folder), "cpu", "float32", RenderSettings(steps=1))
        assert isinstance(instrument, PublishedInstrument)
        mel = next(instrument.song(published_performance(SONGS[0]))).mel
        assert mel.shape == (256, 128)
        return "loaded"
    except CheckpointError as error:
        assert str(folder) in str(error)
        return "refused"


def mutate_checkpoints(count: int, folder: Path) -> Counter[str]:
    def one(rng: random.Random) -> str:
        copy = folder / "mutant"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(GOLDENS / "checkpoints" / rng.choice(["narrow", "wide"]), copy)
        mutate_checkpoint(copy, rng)
        return check_checkpoint(copy)

    return outcomes(count, one)


def test_mutated_checkpoints(tmp_path: Path) -> None:
    found = mutate_checkpoints(40, tmp_path)
    assert found["refused"] > 10


@pytest.mark.slow
def test_three_hundred_mutated_checkpoints(tmp_path: Path) -> None:
    found = mutate_checkpoints(300, tmp_path)
    assert found["refused"] > 100
    assert found["loaded"] > 20
