"""What a worker may say in a second, and that the bounds are far from what an honest one says."""

from sessions.workers import wire
from sessions.workers.limits import BYTES, FRAMES, REPORTS, Meter

QR = wire.Qr("shop", attempt=1, qr="2@x")
BEAT = wire.Beat(lag_ms=0.0, rss_bytes=1, heap_bytes=1)


def test_a_flood_of_reports_is_noticed_long_before_it_fills_the_event_log() -> None:
    meter = Meter(0.0)
    passed = next(n for n in range(80_000) if meter.understood(QR, n / 10_000) is not None)
    assert REPORTS.burst <= passed < REPORTS.burst + 10


def test_a_flood_of_frames_and_of_bytes_is_noticed() -> None:
    meter = Meter(0.0)
    assert next(n for n in range(80_000) if meter.read(100, 0.0) is not None) == FRAMES.burst
    meter = Meter(0.0)
    assert next(
        n for n in range(100) if meter.read(30 * 2**20, 0.0) is not None
    ) == BYTES.burst // (30 * 2**20)


def test_an_honest_worker_never_comes_near() -> None:
    meter = Meter(0.0)
    for second in range(3600):
        for _ in range(1000):
            assert meter.read(2000, float(second)) is None
        assert meter.understood(BEAT, float(second)) is None
        if second % 5 == 0:  # a login that fails every five seconds, for an hour
            for _ in range(5):
                assert meter.understood(QR, float(second)) is None
