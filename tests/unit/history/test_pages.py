"""A page gives back what it was given, and takes nothing twice."""

import random
from array import array

import pytest

from supervisor.history.pages import Page, UnreadablePage
from supervisor.history.points import GAP, Cell, Run, joined
from supervisor.history.tiers import SLOT_SECONDS, TIERS, Tier

MIDNIGHT = 1_728_000_000
"""The begin of a page of every tier."""
EDGES = (0, 1, -1, 127, 128, -128, -129, 32_767, 32_768, -32_768, 2**31 - 1, 2**31, -(2**31), 2**53)


FIRST = MIDNIGHT // SLOT_SECONDS


def cells_of(run: Run) -> list[Cell]:
    return [
        Cell((run.first + place) * SLOT_SECONDS, 1, value, value, value)
        for place, value in enumerate(run.values)
        if value != GAP
    ]


@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: f"{tier.step_seconds} s")
def test_what_is_filled_in_is_read_again_whatever_the_numbers_and_the_gaps(tier: Tier) -> None:
    rng = random.Random(1)
    assert MIDNIGHT % tier.page_seconds == 0
    for values in (EDGES, (0, 1), (-3, 5_000), (7,)):
        figures = [rng.choice(values) if rng.random() < 0.8 else GAP for _ in range(400)]
        page = Page(tier, MIDNIGHT)
        for first in range(3, len(figures), 47):  # in several goes, packed in between
            some = Run(FIRST + first, array("q", figures[first : first + 47]))
            page.fill("host.cpu", some)
            page.filled(FIRST + first + 46)
            page = Page(tier, MIDNIGHT, page.value())
        all_of_page = figures[: tier.page_seconds // SLOT_SECONDS]
        known = cells_of(Run(FIRST + 3, array("q", all_of_page[3:])))
        assert list(page.cells("host.cpu")) == joined(known, tier.step_seconds)
        assert list(page.cells("host.load_1")) == []


def test_what_is_on_the_page_is_not_added_again() -> None:
    figures = Run(FIRST, array("q", range(12)))
    page = Page(TIERS[1], MIDNIGHT)
    assert page.fill("host.cpu", figures)
    page.filled(FIRST + 11)
    again = Page(TIERS[1], MIDNIGHT, page.value())
    assert not again.fill("host.cpu", figures)
    assert not again.fill("host.load_1", figures)
    assert list(again.cells("host.cpu")) == joined(cells_of(figures), 60)
    assert list(again.cells("host.load_1")) == []


def test_a_full_page_of_small_numbers_is_small() -> None:
    rng, page = random.Random(1), Page(TIERS[0], MIDNIGHT)
    page.fill("session.up", Run(FIRST, array("q", [1] * 360)))
    page.fill(
        "session.messages", Run(FIRST, array("q", [int(rng.random() < 0.05) for _ in range(360)]))
    )
    page.filled(FIRST + 359)
    assert len(page.value()) < 250


@pytest.mark.parametrize("value", [b"", b"\0", b"x\x9c\x03\x00\x00\x00\x00\x01"])
def test_what_is_no_page_is_said_to_be_none(value: bytes) -> None:
    with pytest.raises(UnreadablePage):
        Page(TIERS[0], MIDNIGHT, value)
