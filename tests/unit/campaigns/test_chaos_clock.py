"""The clock that the chaos campaign steps."""

from pathlib import Path

from scripts.chaos.garbage import words
from scripts.chaos.stepped_clock import LOOK_SECONDS, SteppedClock, set_offset


class Hands:
    """A clock's hands, moved by the test."""

    wall_ns = 1_000_000_000_000
    monotonic = 0.0


def test_the_clock_is_true_until_it_is_stepped_and_looks_only_now_and_then(tmp_path: Path) -> None:
    hands = Hands()
    clock = SteppedClock(tmp_path / "clock", lambda: hands.wall_ns, lambda: hands.monotonic)
    assert clock.time() == 1000.0
    set_offset(tmp_path / "clock", -3600.0)
    assert clock.time() == 1000.0
    hands.monotonic += LOOK_SECONDS
    assert clock.time() == -2600.0
    assert clock.time_ns() == -2_600_000_000_000


def test_garbage_is_garbage() -> None:
    assert not words("half-frame", 300).endswith(b"\n")
    assert words("wrong-token", 0).count(b"\n") == 1
    assert len(words("bytes", 200)) == 201


def test_a_clock_whose_file_cannot_be_opened_goes_on_as_it_was(tmp_path: Path) -> None:
    hands = Hands()
    clock = SteppedClock(tmp_path / "clock", lambda: hands.wall_ns, lambda: hands.monotonic)
    set_offset(tmp_path / "clock", 3_600)
    assert clock.time() == hands.wall_ns / 1e9 + 3_600
    (tmp_path / "clock").unlink()
    (tmp_path / "clock").mkdir()  # cannot be read: like one for which no descriptor is left
    hands.monotonic += 2 * LOOK_SECONDS
    assert clock.time() == hands.wall_ns / 1e9 + 3_600
