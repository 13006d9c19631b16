"""A page gives back what it was given, and takes nothing twice."""

import random

import pytest

from supervisor.history.pages import Page, UnreadablePage
from supervisor.history.points import Cell, joined
from supervisor.history.tiers import HOUR, SLOT_SECONDS, TIERS, Tier

MIDNIGHT = 1_728_000_000
"""The begin of a page of every tier."""
EDGES = (0, 1, -1, 127, 128, -128, -129, 32_767, 32_768, -32_768, 2**31 - 1, 2**31, -(2**31), 2**53)


def figure(slot: int, value: int) -> Cell:
    return Cell(MIDNIGHT + slot * SLOT_SECONDS, 1, value, value, value)


@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: f"{tier.step_seconds} s")
def test_what_is_filled_in_is_read_again_whatever_the_numbers_and_the_gaps(tier: Tier) -> None:
    rng = random.Random(1)
    assert MIDNIGHT % tier.page_seconds == 0
    for values in (EDGES, (0, 1), (-3, 5_000), (7,)):
        figures = [figure(slot, rng.choice(values)) for slot in range(360) if rng.random() < 0.8]
        page = Page(tier, MIDNIGHT)
        for first in range(0, len(figures), 50):  # in several goes, packed in between
            some = figures[first : first + 50]
            page.fill("host.cpu", some)
            page.filled(some[-1].at_seconds // SLOT_SECONDS)
            page = Page(tier, MIDNIGHT, page.value())
        assert list(page.cells("host.cpu")) == joined(figures, tier.step_seconds)
        assert set(page.names()) == {"host.cpu"}


def test_what_is_on_the_page_is_not_added_again() -> None:
    figures = [figure(slot, slot) for slot in range(12)]
    page = Page(TIERS[1], MIDNIGHT)
    page.fill("host.cpu", figures)
    page.filled(figures[-1].at_seconds // SLOT_SECONDS)
    again = Page(TIERS[1], MIDNIGHT, page.value())
    again.fill("host.cpu", figures)
    again.fill("host.load_1", figures)
    assert list(again.cells("host.cpu")) == joined(figures, 60)
    assert list(again.cells("host.load_1")) == []


def test_a_full_page_of_small_numbers_is_small() -> None:
    rng, page = random.Random(1), Page(TIERS[0], MIDNIGHT)
    page.fill("session.up", [figure(slot, 1) for slot in range(HOUR // 10)])
    page.fill(
        "session.messages",
        [figure(slot, int(rng.random() < 0.05)) for slot in range(HOUR // 10)],
    )
    assert len(page.value()) < 250


@pytest.mark.parametrize("value", [b"", b"\0", b"x\x9c\x03\x00\x00\x00\x00\x01"])
def test_what_is_no_page_is_said_to_be_none(value: bytes) -> None:
    with pytest.raises(UnreadablePage):
        Page(TIERS[0], MIDNIGHT, value)
