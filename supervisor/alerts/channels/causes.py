"""Why a service has not taken a message, in words for an operator. Pure.

The library logs a cause and answers yes or no; what it logs quotes addresses that are secrets. So
only what is known is taken from it, and never a line as it stands.
"""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final

PERMANENT_STATUS: Final = frozenset({400, 401, 403, 404, 405, 410})
"""Of HTTP: the address or its password is wrong, and stays so."""
WORDS_MOST: Final = 300

_STATUS: Final = re.compile(r"\berror=(\d{3})\b")
_MAIL: Final = re.compile(r"\((\d{3}), b?(['\"])(.*?)\2[,)]")
_REFUSED_RECIPIENT: Final = re.compile(
    r"SMTP recipient (\S+) was refused: (\d{3}) b?['\"](.*?)['\"]$"
)
_CERTIFICATE: Final = re.compile(r"certificate verify failed: ([^()\[\]]+)")
_ERRNO: Final = re.compile(r"""\[Errno -?\d+\] ([A-Za-z][^'")\]>]*)""")
_NAME: Final = re.compile(r"Name or service not known|Failed to resolve|NameResolutionError")
_PLAIN: Final = (
    ("timed out", "it has not answered in time"),
    ("Read timed out", "it has not answered in time"),
    ("Connection aborted", "it has cut the connection"),
    ("Connection unexpectedly closed", "it has cut the connection"),
    ("STARTTLS extension not supported", "the mail server has no STARTTLS: see `tls`"),
    ("SMTP AUTH extension not supported", "the mail server takes no password: leave out `user`"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS at that port"),
)


def cause(lines: Iterable[str], secrets: Sequence[str] = ()) -> tuple[str, bool]:
    """Why, and whether it is permanent; from what the library has logged, the last cause first."""
    for line in reversed(list(lines)):
        found = _of_line(line)
        if found is not None:
            words, permanent = found
            return hidden(words, secrets), permanent
    return "it was refused, and nobody has said why", False


def hidden(text: str, secrets: Sequence[str]) -> str:
    """The text without any of them, cut: a reply that says it has a length (REPLY_BYTES)."""
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = text.replace(secret, "(hidden)")
    return "".join(letter if letter.isprintable() else " " for letter in text)[:WORDS_MOST]


def _of_line(line: str) -> tuple[str, bool] | None:
    if found := _STATUS.search(line):
        status = int(found[1])
        return f"it answers {_phrase(status)}", status in PERMANENT_STATUS
    if found := _REFUSED_RECIPIENT.search(line):
        return f"the mail server refuses {found[1]}: {found[2]} {found[3]}", found[2][0] == "5"
    if "Socket Exception" not in line:
        return None
    if found := _MAIL.search(line):
        return f"the mail server answers {found[1]} {found[3]}", found[1][0] == "5"
    if found := _CERTIFICATE.search(line):
        return f"its certificate is not to be trusted: {found[1].strip()}", False
    if _NAME.search(line):
        return "its name is not found (DNS)", False
    for part, words in _PLAIN:
        if part in line:
            return words, False
    if found := _ERRNO.search(line):
        return f"it cannot be reached: {found[1].strip()}", False
    return None


def _phrase(status: int) -> str:
    try:
        return f"HTTP {status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return f"HTTP {status}"
