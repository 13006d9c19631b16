"""Wrong values and broken bytes.

All that is random comes from the generator that is given: the same seed breaks the same way.
"""

import random
from typing import Any, Final

NUMBERS: Final = (0, -1, 1, 2**31, 2**53, 2**63, 2**64, 10**20, -(10**20), 0.5, 1e308, -0.0)
TEXTS: Final = (
    "",
    "x",
    "\0",
    "../../../pwn",
    "a/b",
    "%00",
    "x" * 300,
    "y" * 70_000,
    "\x1b]0;owned\x07\x1b[2J",
    "[/red]",
    "\u202e\ufffd\U0001f512",
    "null",
    "1e999",
    "' OR 1=1 --",
    "\r\nX-Injected: 1",
)


def value(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON value, few of them sensible."""
    kind = rng.randrange(8 if depth < 3 else 5)
    match kind:
        case 0:
            return rng.choice(NUMBERS)
        case 1 | 2:
            return rng.choice(TEXTS)
        case 3:
            return rng.choice((None, True, False))
        case 4:
            return rng.randrange(-10, 1000)
        case 5:
            return [
                value(rng, depth + 1)
                for _ in range(rng.choice((0, 1, 3, 500 if depth == 0 else 2)))
            ]
        case _:
            return {rng.choice(TEXTS)[:40]: value(rng, depth + 1) for _ in range(rng.randrange(4))}


def changed(rng: random.Random, given: Any) -> Any:
    """What was given, with one thing wrong somewhere in it."""
    if isinstance(given, dict) and given and rng.random() < 0.9:
        name = rng.choice(sorted(given))
        if rng.random() < 0.1:
            return {other: given[other] for other in given if other != name}
        return given | {name: changed(rng, given[name])}
    if isinstance(given, list) and given and rng.random() < 0.8:
        place = rng.randrange(len(given))
        return [*given[:place], changed(rng, given[place]), *given[place + 1 :]]
    return value(rng)


def broken(rng: random.Random, given: bytes) -> bytes:
    """What was given, with some bytes lost, doubled or changed."""
    data = bytearray(given)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[place : place + rng.randrange(1, 40)] = b""
            case 1:
                data[place:place] = rng.randbytes(rng.randrange(1, 20))
            case 2 if place < len(data):
                data[place] ^= 1 << rng.randrange(8)
            case 3:
                data[place:place] = data[place : place + rng.randrange(1, 400)]
            case _:
                data[place:place] = rng.choice(
                    (b"\0", b"\r\n", b"\xff\xfe", b'"', b"[" * 2000, b"=", b"\x1b[")
                )
    return bytes(data)
