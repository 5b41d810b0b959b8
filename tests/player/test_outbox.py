import multiprocessing
import time

from specdiffd.player.outbox import MOST_ROWS, Outbox


def test_reports_come_out_and_what_waits_is_merged() -> None:
    ours, theirs = multiprocessing.Pipe()
    outbox = Outbox(theirs)
    outbox.put({"rows": [1], "value": "a"})
    assert ours.poll(5)
    assert ours.recv() == ("report", {"rows": [1], "value": "a"})


def test_nobody_waits_for_a_supervisor_that_does_not_read() -> None:
    ours, theirs = multiprocessing.Pipe()
    outbox = Outbox(theirs)
    started_s = time.monotonic()
    for k in range(500):
        outbox.put({"rows": [k], "value": k, "snapshot": bytes(100_000)})
    assert time.monotonic() - started_s < 1
    rows, last = [], None
    while last != 499:
        assert ours.poll(5)
        _, report = ours.recv()
        rows += report["rows"]
        last = report["value"]
    assert rows[-MOST_ROWS + 1 :] == list(range(501 - MOST_ROWS, 500))


def test_a_supervisor_that_is_gone_ends_nothing() -> None:
    ours, theirs = multiprocessing.Pipe()
    outbox = Outbox(theirs)
    ours.close()
    for _ in range(3):
        outbox.put({"rows": []})
