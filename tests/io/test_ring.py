import multiprocessing

from specdiffd.io.ring import BelledRing, EventRing


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


def test_overflow_drops_the_newest_and_counts() -> None:
    ring = EventRing(capacity=4)
    assert [ring.put(k, 0x90, k) for k in range(6)] == [True] * 4 + [False] * 2
    assert ring.dropped == 2
    assert [e[0] for e in ring.take()] == [0, 1, 2, 3]
    assert ring.put(9, 0x90)


def test_the_bell_is_rung_once_until_it_is_answered() -> None:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    ring = EventRing()
    belled = BelledRing(ring, theirs)
    for k in range(10):
        belled.put(k, 0x90)
    assert ours.poll()
    ours.recv_bytes()
    assert not ours.poll()
    belled.put(11, 0x90)
    assert not ours.poll()
    ring.answer()
    assert len(ring.take()) == 11
    belled.put(12, 0x90)
    assert ours.poll(1)
