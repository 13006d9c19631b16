"""Both languages say the same things, and of everything that there is."""

import string
from collections.abc import Mapping
from types import ModuleType

import pytest

from sessions.model import CloseReason
from supervisor.reports.figures import DEFINITIONS, PEAKS, PLOTS, SERIES
from supervisor.reports.recommendations import NAMES
from supervisor.reports.rendering.words import english, portuguese

TABLES = [
    name for name in vars(english) if name.isupper() and isinstance(getattr(english, name), Mapping)
]


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("table", TABLES)
def test_both_languages_have_the_same_keys_and_the_same_places(table: str) -> None:
    ours, theirs = getattr(english, table), getattr(portuguese, table)
    assert list(ours) == list(theirs)
    for name in ours:
        assert places(ours[name]) == places(theirs[name]), name


@pytest.mark.parametrize("words", [english, portuguese])
def test_everything_that_there_is_has_its_words(words: ModuleType) -> None:
    assert set(words.REASONS) == {str(reason) for reason in CloseReason}
    assert set(words.RECOMMENDATIONS) == set(NAMES)
    assert {one.name for one in DEFINITIONS} <= set(words.FIGURES)
    assert {*PEAKS, *PLOTS} <= set(words.SERIES) <= set(SERIES)
    assert len(words.DEFINITIONS) == len(english.DEFINITIONS)
