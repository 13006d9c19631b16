"""Wrong values and broken bytes.

All that is random comes from the generator that is given: the same seed breaks the same way.
"""

import random
from typing import Final

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
