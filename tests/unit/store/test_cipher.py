"""Sealed values: what opens them and what does not; keys as operators write them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions.model import UnreadableValue
from sessions.store.sealing.cipher import (
    PREFIX_BYTES,
    Cipher,
    Place,
    is_sealed,
    parse_keys,
    seal,
    unseal,
)

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
PLACE = Place("auth", "shop", "session", "1.0")


@given(value=st.binary(max_size=200), names=st.tuples(st.text(), st.text(), st.text(), st.text()))
def test_what_was_sealed_for_a_place_opens_there(
    value: bytes, names: tuple[str, str, str, str]
) -> None:
    cipher = Cipher([OLD])
    sealed = cipher.seal(value, Place(*names))
    assert is_sealed(sealed)
    assert cipher.open(sealed, Place(*names)) == value


@pytest.mark.parametrize("index", range(4))
def test_it_opens_nowhere_else(index: int) -> None:
    other = Place(*(f"{part}x" if at == index else part for at, part in enumerate(PLACE)))
    with pytest.raises(UnreadableValue, match="does not decrypt"):
        Cipher([OLD]).open(Cipher([OLD]).seal(b"1", PLACE), other)


def test_places_that_look_alike_are_not_the_same() -> None:
    sealed = Cipher([OLD]).seal(b"1", Place("auth", "a", "bc", ""))
    with pytest.raises(UnreadableValue):
        Cipher([OLD]).open(sealed, Place("auth", "ab", "c", ""))


@pytest.mark.parametrize("at", [0, 2, PREFIX_BYTES, PREFIX_BYTES + 12, -1])
def test_a_changed_byte_is_noticed(at: int) -> None:
    sealed = bytearray(Cipher([OLD]).seal(b'"secret"', PLACE))
    sealed[at] ^= 0x40
    with pytest.raises(UnreadableValue) as caught:
        unseal(Cipher([OLD]), bytes(sealed), PLACE)
    assert "secret" not in str(caught.value)


def test_the_first_key_seals_and_all_open() -> None:
    sealed = Cipher([OLD]).seal(b"1", PLACE)
    both = Cipher([NEW, OLD])
    assert both.open(sealed, PLACE) == b"1"
    assert both.seal(b"1", PLACE).startswith(Cipher([NEW]).prefix)
    with pytest.raises(UnreadableValue, match="a key that WHATSAPP_STORE_KEY does not have"):
        Cipher([NEW]).open(sealed, PLACE)


def test_the_same_value_never_looks_the_same() -> None:
    cipher = Cipher([OLD])
    assert len({cipher.seal(b"1", PLACE) for _ in range(100)}) == 100


def test_plain_values_are_read_with_and_without_a_key() -> None:
    assert unseal(None, b'{"a":1}', PLACE) == unseal(Cipher([OLD]), b'{"a":1}', PLACE) == b'{"a":1}'
    assert seal(None, b"1", PLACE) == b"1"
    with pytest.raises(UnreadableValue, match="WHATSAPP_STORE_KEY is not set"):
        unseal(None, seal(Cipher([OLD]), b"1", PLACE), PLACE)


@pytest.mark.parametrize("value", [b"", b"{", b"nul", b"\xff", b'{"a":1}{', b"[" * 100_000])
def test_what_is_no_json_is_named_and_not_quoted(value: bytes) -> None:
    with pytest.raises(UnreadableValue, match=r"session '1\.0' of session 'shop' is not JSON"):
        unseal(None, value, PLACE)


def test_a_cipher_shows_no_key() -> None:
    assert OLD.hex()[:8] not in repr(Cipher([OLD])) + repr(vars(Cipher([OLD]))["_keys"].keys())


@pytest.mark.parametrize(
    "text",
    [
        OLD.hex(),
        OLD.hex().upper(),
        base64.b64encode(OLD).decode(),
        base64.urlsafe_b64encode(OLD).decode(),
        f" {OLD.hex()} ",
    ],
)
def test_a_key_is_hex_or_base64(text: str) -> None:
    assert parse_keys(text) == [OLD]
    assert parse_keys(f"{text}, {NEW.hex()}") == [OLD, NEW]


@pytest.mark.parametrize(
    "text",
    ["", "hunter2", OLD.hex()[:-2], OLD.hex() + "00", f"{OLD.hex()},", f"{NEW.hex()},hunter2"],
)
def test_what_is_no_key_is_refused_with_help_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="openssl rand -hex 32") as caught:
        parse_keys(text)
    assert "hunter2" not in str(caught.value)
    assert OLD.hex()[:8] not in str(caught.value)


def test_a_key_is_given_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        parse_keys(f"{OLD.hex()},{base64.b64encode(OLD).decode()}")


def test_a_cipher_needs_whole_keys() -> None:
    for keys in ([], [b"short"], [OLD, OLD[:-1]]):
        with pytest.raises(ValueError, match="32 bytes"):
            Cipher(keys)
