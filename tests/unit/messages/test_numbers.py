"""Numbers and jids as people write them, and what is refused with which hint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions.messages.numbers import (
    InvalidRecipient,
    number_of,
    other_forms,
    phone_number,
    recipient,
)

NUMBER = "5511999990000"


@pytest.mark.parametrize(
    "written",
    [
        "5511999990000",
        "+55 11 99999-0000",
        "+55 (11) 99999-0000",
        "55.11.99999.0000",
        "55 11 9 9999 0000",
        "+55/11/99999\u20110000",
        "\uff15\uff1511999990000",
        " tel:+5511999990000\n",
    ],
)
def test_a_number_is_the_same_number_however_it_is_grouped(written: str) -> None:
    assert phone_number(written) == NUMBER
    assert recipient(written).jid == f"{NUMBER}@s.whatsapp.net"


@pytest.mark.parametrize(
    "written",
    [
        "005511999990000",
        "+00 55 11 99999-0000",
        "01155 11 99999-0000",
        "011999990000",
        "(011) 99999-0000",
        "0 11 99999 0000",
        "11999990000",
        "+55 (0)11 99999-0000",
        "55011999990000",
        "005511999990000@s.whatsapp.net",
    ],
)
def test_what_cannot_be_meant_as_written_is_refused_with_the_form_that_was_meant(
    written: str,
) -> None:
    with pytest.raises(InvalidRecipient) as refused:
        recipient(written)
    assert refused.value.hint == f"Did you mean {NUMBER}?"


def test_a_number_without_its_country_code_is_read_as_one_of_home() -> None:
    with pytest.raises(InvalidRecipient) as refused:
        phone_number("0151 23456789", home="4915112345678")
    assert refused.value.hint == "Did you mean 4915123456789?"


@pytest.mark.parametrize(
    "written", ["", "abc", "123", "1202555", "9995551234567", "120363000000000000", "5" * 200]
)
def test_what_is_no_number_at_all_is_refused(written: str) -> None:
    with pytest.raises(InvalidRecipient) as refused:
        phone_number(written)
    assert "country code" in refused.value.hint


@pytest.mark.parametrize(
    "number", ["551199990000", "5215512345678", "15550000001", "4915112345678", "6834001"]
)
def test_numbers_that_whatsapp_has_or_may_have_are_taken_as_they_are(number: str) -> None:
    assert phone_number(number) == number


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5511999990000", "551199990000"),
        ("5215512345678", "525512345678"),
        ("5491123456789", "541123456789"),
    ],
)
def test_two_forms_of_one_telephone_lead_to_each_other(one: str, other: str) -> None:
    assert other_forms(one) == (other,)
    assert other_forms(other) == (one,)


@pytest.mark.parametrize("number", ["551133334444", "15550000001", "4915112345678"])
def test_a_number_with_one_form_has_no_other(number: str) -> None:
    assert other_forms(number) == ()


@pytest.mark.parametrize(
    ("written", "jid"),
    [
        ("5511999990000@s.whatsapp.net", "5511999990000@s.whatsapp.net"),
        ("5511999990000@c.us", "5511999990000@s.whatsapp.net"),
        ("123456789012345@lid", "123456789012345@lid"),
        ("120363000000000000@g.us", "120363000000000000@g.us"),
        ("5511999990000-1600000000@g.us", "5511999990000-1600000000@g.us"),
    ],
)
def test_jids_of_people_and_groups_are_taken(written: str, jid: str) -> None:
    assert recipient(written).jid == jid


@pytest.mark.parametrize(
    "written",
    [
        "status@broadcast",
        "1@g.us",
        "5511999990000:3@s.whatsapp.net",
        "1:2@lid",
        "5511999990000@example.com",
        "@lid",
        "a@b@c",
    ],
)
def test_other_jids_are_refused(written: str) -> None:
    with pytest.raises(InvalidRecipient):
        recipient(written)


def test_the_number_in_a_jid() -> None:
    assert number_of("5511999990000:7@s.whatsapp.net") == NUMBER
    assert number_of("123@lid") is None
    assert number_of(None) is None


@given(st.text(max_size=40))
def test_whatever_is_written_is_a_jid_or_a_refusal(written: str) -> None:
    try:
        found = recipient(written)
    except InvalidRecipient:
        return  # anything else than a refusal fails the test
    assert found.jid.isascii()
    assert "@" in found.jid
