import multiprocessing
import time

from specdiffd.player.outbox import MOST_ROWS, Outbox, merged
from specdiffd.shared.messages import Report, decode_news


def test_reports_come_out() -> None:
    ours, theirs = multiprocessing.Pipe()
    outbox = Outbox(theirs)
    report = Report({"events": 1}, latencies=[{"slack": 1.5}], midi=[(1, 0x90, 60, 100)], snapshot=b"scores")
    outbox.put(report)
    assert ours.poll(5)
    assert decode_news(ours.recv_bytes()) == report


def test_of_two_reports_the_later_counts_and_rows_go_on() -> None:
    """What is the case now is replaced, though it is a list, too."""
    earlier = Report(programs=[1, 2], midi=[(1, 0x90, 60, 100)], latencies=[{"slack": 1.0}], snapshot=b"earlier")
    both = merged(earlier, Report(programs=[3, 4], midi=[(2, 0x80, 60, 0)], latencies=[{"slack": 2.0}]))
    assert both.programs == [3, 4]
    assert both.midi == [(1, 0x90, 60, 100), (2, 0x80, 60, 0)]
    assert both.latencies == [{"slack": 1.0}, {"slack": 2.0}]
    assert both.snapshot == b"earlier"
    assert merged(earlier, Report(snapshot=b"later")).snapshot == b"later"


def test_nobody_waits_for_a_supervisor_that_does_not_read() -> None:
    ours, theirs = multiprocessing.Pipe()
    outbox = Outbox(theirs)
    started_s = time.monotonic()
    for k in range(500):
        outbox.put(Report(queued_events=k, midi=[(k, 0x90, 60, 100)], snapshot=bytes(100_000)))
    assert time.monotonic() - started_s < 1
    rows, last = [], None
    while last != 499:
        assert ours.poll(5)
        report = decode_news(ours.recv_bytes())
        assert isinstance(report, Report)
        rows += [row[0] for row in report.midi]
        last = report.queued_events
    assert rows[-MOST_ROWS + 1 :] == list(range(501 - MOST_ROWS, 500))


def test_a_supervisor_that_is_gone_ends_nothing() -> None:
    ours, theirs = multiprocessing.Pipe()
    outbox = Outbox(theirs)
    ours.close()
    for _ in range(3):
        outbox.put(Report())
