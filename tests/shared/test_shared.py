import multiprocessing
import os

import numpy as np

from specdiffd.shared.block import SharedBlock
from specdiffd.shared.sizes import PLAYED_SAMPLES


def child(shared: SharedBlock) -> None:
    shared.timeline.write(10, np.full((5, 2), 0.5, np.float32))
    shared.timeline.publish(15, silent=True)
    shared.live_events.put(1, 0x90, 60, 100)


def test_a_child_process_sees_the_same_memory_and_nothing_stays_behind() -> None:
    before = set(os.listdir("/dev/shm"))
    shared = SharedBlock()
    process = multiprocessing.get_context("spawn").Process(target=child, args=(shared,))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert shared.timeline.read(10, 5)[:, 0].tolist() == [0.5] * 5
    assert shared.live_events.take() == [(1, 0x90, 60, 100)]
    assert set(os.listdir("/dev/shm")) == before


def test_what_was_played_can_be_fetched() -> None:
    played = SharedBlock().played
    for k in range(10):
        played.add(np.full((1000, 2), k, np.float32))
    audio, count = played.since(8500)
    assert count == 10000
    assert audio[:, 0].tolist() == [8] * 500 + [9] * 1000
    for _ in range(PLAYED_SAMPLES // 1000):
        played.add(np.zeros((1000, 2), np.float32))
    audio, count = played.since(0)  # too late for the beginning
    assert 0 < len(audio) <= PLAYED_SAMPLES
