"""Phone numbers and jids as people write them: one rule for every call that takes one.

Pure; phonenumbers knows the world's numbering plans.

A number is taken with its country code, however it is grouped. What cannot be meant as it is
written is refused, with the form that was probably meant as the hint, and never corrected silently:
a text to a stranger is worse than a refusal.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final, NamedTuple

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat

from sessions.model import WasupError

USER_SERVER: Final = "s.whatsapp.net"
EXAMPLE: Final = "Give it with its country code: digits, such as 5511999990000."
HOME: Final = "5511999990000"
"""Where the caller is at home if nothing says better: where most of those are who run this.

Nothing but hints depends on it.
"""
MAX_DIGITS: Final = 15
"""E.164: the country code and the national number together."""
_GROUPING: Final = re.compile(r"[\s().\-/\u2010-\u2015\u2212]")
"""What people put between digits: spaces, brackets, dots, slashes, and hyphens of all kinds."""
_PLUS: Final = re.compile(r"^(\+|tel:\+?)", re.IGNORECASE)
_USER_JID: Final = re.compile(r"[1-9][0-9]{6,14}")
_LID: Final = re.compile(r"[1-9][0-9]{4,19}")
_GROUP: Final = re.compile(r"[0-9]{5,20}(-[0-9]{5,15})?")

_BRAZIL_MOBILE: Final = re.compile(r"55([1-9][1-9])(9?)([6-9][0-9]{7})")
"""Area code, the ninth digit that mobiles were given between 2012 and 2016, and the eight before.

Accounts that are older than that are known to WhatsApp without it, whatever people write today.
"""
_MEXICO_MOBILE: Final = re.compile(r"52(1?)([1-9][0-9]{9})")
"""Until 2019 mobiles were dialled with a 1 behind the country code; WhatsApp's ids have kept it."""
_ARGENTINA_MOBILE: Final = re.compile(r"54(9?)([1-9][0-9]{9})")
"""Mobiles have a 9 behind the country code when they are called from abroad, and none at home."""


class InvalidRecipient(WasupError):
    """That is neither a phone number nor the jid of a person or a group."""

    code = "invalid_recipient"
    hint = EXAMPLE


class Recipient(NamedTuple):
    """Whom a text is for: a jid, and the other jids under which WhatsApp may know the same
    number.
    """

    jid: str
    others: tuple[str, ...] = ()


def phone_number(text: str, home: str | None = None) -> str:
    """The digits of an international number.

    Raises InvalidRecipient, with the form that was probably meant as its hint.

    `home`: a number (digits) of the country in which the caller is at home: a number without its
    country code is read as one of there.
    """
    home = home or HOME
    written = unicodedata.normalize("NFKC", text).strip()
    digits = _GROUPING.sub("", _PLUS.sub("", written))
    if re.fullmatch(r"[0-9]+", digits) is None:
        raise InvalidRecipient(f"{text[:40]!r} is not a phone number.", EXAMPLE)
    if _is_meant(digits, home):
        return digits
    raise _refusal(text, digits, home)


def recipient(text: str, home: str | None = None) -> Recipient:
    """Whom a text is for, by a number or a jid. Raises InvalidRecipient."""
    user, at, server = text.strip().partition("@")
    if not at:
        number = phone_number(text, home)
        return Recipient(_jid(number), tuple(map(_jid, other_forms(number))))
    match server.lower():
        case "s.whatsapp.net" | "c.us" if _USER_JID.fullmatch(user):
            return Recipient(_jid(user), tuple(map(_jid, other_forms(user))))
        case "s.whatsapp.net" | "c.us" if re.fullmatch(r"[0-9]+", user):
            raise _refusal(text, user, home or HOME)
        case "lid" if _LID.fullmatch(user):
            return Recipient(f"{user}@lid")
        case "g.us" if _GROUP.fullmatch(user):
            return Recipient(f"{user}@g.us")
        case "s.whatsapp.net" | "c.us" | "lid" if ":" in user:
            hint = (
                "Leave out the colon and the device's number behind it: texts go to a person, not"
                " to a device."
            )
            raise InvalidRecipient(f"{text[:60]!r} is the jid of a device.", hint)
        case _:
            hint = (
                "Jids are <number>@s.whatsapp.net, <digits>@lid, and <digits>@g.us for a group. "
                + EXAMPLE
            )
            raise InvalidRecipient(f"{text[:60]!r} is no jid of a person or a group.", hint)


def other_forms(number: str) -> tuple[str, ...]:
    """The other digits under which WhatsApp may know the same telephone."""
    if found := _BRAZIL_MOBILE.fullmatch(number):
        area, ninth, subscriber = found.groups()
        return (f"55{area}{'' if ninth else '9'}{subscriber}",)
    if found := _MEXICO_MOBILE.fullmatch(number):
        return (f"52{'' if found[1] else '1'}{found[2]}",)
    if found := _ARGENTINA_MOBILE.fullmatch(number):
        return (f"54{'' if found[1] else '9'}{found[2]}",)
    return ()


def number_of(jid: str | None) -> str | None:
    """The digits of a person's or a device's jid by number; None if it is none."""
    found = re.fullmatch(r"([0-9]+)(_[0-9]+)?(:[0-9]+)?@(s\.whatsapp\.net|c\.us)", jid or "")
    return found[1] if found else None


def _jid(number: str) -> str:
    return f"{number}@{USER_SERVER}"


def _is_meant(digits: str, home: str) -> bool:
    """Whether the digits can be meant as they stand: a number of that country, or of a length that
    it has at least.
    """
    number = _international(digits)
    if digits.startswith("0") or number is None or len(digits) > MAX_DIGITS:
        return False
    if _is_valid(digits):
        return True
    if not (phonenumbers.is_possible_number(number) and _digits_of(number) == digits):
        return False
    # Of a length that exists, in a range that does not: WhatsApp will say, unless it is a number of
    # home without its country code.
    return _at_home(digits, home) is None


def _is_valid(digits: str) -> bool:
    """Whether the numbering plan has it, as it stands or in the form that WhatsApp may know it
    by.
    """
    for form in (digits, *other_forms(digits)):
        number = _international(form)
        if (
            number is not None
            and phonenumbers.is_valid_number(number)
            and _digits_of(number) == form
        ):
            return True
    return False


def _refusal(text: str, digits: str, home: str) -> InvalidRecipient:
    meant = next(
        (form for form in _corrections(digits, home) if form != digits and _is_valid(form)), None
    )
    if meant is None:
        longer = " A group is written <digits>@g.us." if len(digits) > MAX_DIGITS else ""
        return InvalidRecipient(f"{text[:60]!r} is a number that cannot exist.", EXAMPLE + longer)
    return InvalidRecipient(
        f"{text[:60]!r} cannot be meant as it is written: a number begins with its country code.",
        f"Did you mean {meant}?",
    )


def _corrections(digits: str, home: str) -> Iterator[str]:
    """What may have been meant: without the prefix for calls abroad, without a 0 in its middle, or
    with the country code of home.
    """
    for prefix in ("00", "011", "810", "0011"):
        if digits.startswith(prefix):
            yield digits.removeprefix(prefix).lstrip("0")
    at_home = _at_home(digits, home)
    if at_home is not None and digits.startswith("0"):
        # as it is dialled at home, before anything rarer
        yield at_home
    if (number := _international(digits.lstrip("0"))) is not None:
        yield _digits_of(number)
    if at_home is not None:
        yield at_home


def _at_home(digits: str, home: str) -> str | None:
    """The digits read as somebody would dial them at home, if that makes a number."""
    own = _international(home)
    if own is None:
        return None
    region = phonenumbers.region_code_for_country_code(own.country_code or 0)
    try:
        number = phonenumbers.parse(digits, region)
    except NumberParseException:
        return None
    return _digits_of(number) if phonenumbers.is_valid_number(number) else None


def _international(digits: str) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(f"+{digits}")
    except NumberParseException:
        return None


def _digits_of(number: PhoneNumber) -> str:
    return phonenumbers.format_number(number, PhoneNumberFormat.E164).removeprefix("+")
