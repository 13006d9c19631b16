"""Lists page by page: nothing twice, nothing left out, and no cursor but our own."""

import pytest

from api.errors import BadRequest
from api.paging import PageQuery, cursor, page

KIND = tuple[float, str]
AGES = {"a": 1.0, "b": 2.0, "c": 2.0, "d": 3.5}


def key(name: str) -> tuple[float, str]:
    return AGES[name], name


def test_pages_follow_each_other_and_the_last_one_says_so() -> None:
    first, following = page(["d", "b", "a", "c"], key, KIND, PageQuery(limit=2))
    assert first == ["a", "b"]
    assert following is not None
    assert page(["d", "b", "a", "c"], key, KIND, PageQuery(2, following)) == (["c", "d"], None)
    assert page(["a"], key, KIND, PageQuery(2)) == (["a"], None)
    assert page([], key, KIND, PageQuery(2)) == ([], None)


def test_what_is_removed_or_added_between_two_pages_neither_repeats_nor_hides_another() -> None:
    _, following = page(["a", "b", "c", "d"], key, KIND, PageQuery(limit=2))
    assert following is not None
    assert page(["a", "c", "d"], key, KIND, PageQuery(2, following)) == (["c", "d"], None)


@pytest.mark.parametrize("entries", [["a"], []])
@pytest.mark.parametrize(
    "text",
    ["", "x", "%%%", "bnVsbA", cursor(("x",)), cursor(()), cursor((1,)), cursor((1.0, "a", "b"))],
)
def test_what_is_no_cursor_of_this_list_is_refused(text: str, entries: list[str]) -> None:
    with pytest.raises(BadRequest) as refused:
        page(entries, key, KIND, PageQuery(2, text))
    assert "next" in refused.value.hint


def test_a_cursor_beyond_the_last_entry_ends_the_list() -> None:
    assert page(["a"], key, KIND, PageQuery(2, cursor((9, "z")))) == ([], None)
