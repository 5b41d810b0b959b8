import multiprocessing
import threading

from specdiffd.shared.ring import BelledRing, EventRing

PIPE = multiprocessing.Pipe(duplex=False)  # both ends stay open


def belled(capacity: int = 4) -> tuple[EventRing, BelledRing]:
    ring = EventRing(capacity=capacity)
    return ring, BelledRing(ring, PIPE[1])


def test_events_come_out_in_order() -> None:
    ring = EventRing(capacity=8)
    for k in range(5):
        assert ring.put(k, 0x90, 60 + k, 100)
    assert len(ring) == 5
    assert ring.take() == [(k, 0x90, 60 + k, 100) for k in range(5)]
    assert ring.take() == []


def test_it_wraps_for_as_long_as_you_like() -> None:
    ring = EventRing(capacity=4)
    for k in range(100):
        ring.put(k, 0xB0, k, 0)
        assert ring.take() == [(k, 0xB0, k, 0)]


def test_a_full_ring_drops_the_newest_notes_and_counts_them() -> None:
    ring, producer = belled()
    assert [producer.put(k, 0x90, k, 100) for k in range(6)] == [True] * 4 + [False] * 2
    assert ring.dropped == 2
    assert [e[0] for e in ring.take()] == [0, 1, 2, 3]
    assert producer.put(9, 0x90, 1, 1)


def test_a_full_ring_loses_no_note_off_and_no_last_value() -> None:
    ring, producer = belled()
    for k in range(4):
        producer.put(k, 0x90, k, 100)
    for k, message in enumerate(
        [(0x80, 0, 0), (0xB0, 7, 1), (0xB0, 64, 0), (0x90, 1, 0), (0xB0, 7, 2), (0xE0, 1, 2), (0xC0, 5, 0), (0x90, 2, 9)]
    ):
        assert producer.put(10 + k, *message) is (message != (0x90, 2, 9))
    assert ring.dropped == 1
    seen = ring.take()
    while len(seen) < 10:
        producer.flush()
        seen += ring.take()
    assert [e[1:] for e in seen[4:]] == [(0x80, 0, 0), (0xB0, 64, 0), (0x90, 1, 0), (0xB0, 7, 2), (0xE0, 1, 2), (0xC0, 5, 0)]


def test_what_was_kept_comes_before_what_is_new() -> None:
    ring, producer = belled()
    for k in range(4):
        producer.put(k, 0x90, 60 + k, 100)
    producer.put(5, 0x80, 60)
    ring.take()
    producer.put(6, 0x90, 60, 90)
    assert [e[1:] for e in ring.take()] == [(0x80, 60, 0), (0x90, 60, 90)]


def test_what_is_kept_is_bounded() -> None:
    ring, producer = belled()
    for k in range(50_000):
        producer.put(k, 0x80 | k % 0x70, k % 128, k % 127)
    assert len(producer._kept) < 16 * (128 + 128 + 128 + 3)
    assert len(ring) == 4


def test_threads_may_share_it() -> None:
    """Several MIDI ports have a thread each."""
    ring, producer = belled(1 << 16)
    threads = [threading.Thread(target=lambda c=c: [producer.put(k, 0x90 | c, 60, 100) for k in range(3000)]) for c in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = ring.take()
    assert len(taken) == 8 * 3000
    for c in range(8):
        assert [e[0] for e in taken if e[1] == 0x90 | c] == list(range(3000))


def test_the_bell_is_rung_once_until_it_is_answered() -> None:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    ring = EventRing()
    producer = BelledRing(ring, theirs)
    for k in range(10):
        producer.put(k, 0x90)
    assert ours.poll()
    ours.recv_bytes()
    assert not ours.poll()
    producer.put(11, 0x90)
    assert not ours.poll()
    ring.answer()
    assert len(ring.take()) == 11
    producer.put(12, 0x90)
    assert ours.poll(1)
