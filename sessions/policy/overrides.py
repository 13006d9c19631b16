"""A policy file: TOML over the table, row by row and key by key; and what no file may say.

Pure: the text is read elsewhere.

A row is a table named as its close reason; a key that is left out keeps its default. Keys are
written as here or as `GET /policy` shows them (`base_seconds` or `baseSeconds`). What is
forbidden is forbidden here and nowhere else: nothing can make a logout delete credentials, turn a
conflict into a fight, log in a banned number, or start a storm.
"""

import difflib
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sessions.model import BadPolicy
from sessions.model import CloseReason as R
from sessions.policy.rules import (
    AS_SOON_AS,
    FORCE,
    NOTHING,
    RULES,
    Action,
    Pace,
    Rule,
    Rules,
    correlated_reasons,
)

ACTIONS: Final[Mapping[str, Action]] = {
    "retry": Action.RETRY,
    "park": Action.PARK,
    "hold": Action.HOLD,
    "stop": Action.DONE,
}
"""The actions, as a file names them."""
CAMEL: Final[Mapping[str, str]] = {
    "minimumSeconds": "minimum_seconds",
    "baseSeconds": "base_seconds",
    "capSeconds": "cap_seconds",
}
"""Keys as the API writes them, and as this file does."""
LEAST_WAIT_SECONDS: Final = 0.5
"""No wait for a server may have a lower ceiling: hundreds of sessions that try more often are an
attack, and bans follow churn (docs/evidence.md#bans-follow-churn).
"""
LEAST_BASE_SECONDS: Final[Mapping[R, float]] = {
    **dict.fromkeys((R.SERVER_ERROR, R.UNAVAILABLE, R.RATE_LIMITED), 2.0),
    **dict.fromkeys((R.REPAIR_NEEDED, R.UNKNOWN_FAILURE), 5.0),
}
"""The server has answered: it is given more time than a network is."""
LEAST_SPREAD_SECONDS: Final = 5.0
"""The least wait of such a row with the pace spread, which never doubles."""
LEAST_CAP_SECONDS: Final = 30.0
"""No lower cap for a server in trouble: in the long run half of it is the average wait."""
LEAST_LIMITED_CAP_SECONDS: Final = 64.0
"""Five steps from 2 s: what a 429 calls for (memory.py)."""
MOST_REFUSED_TRIES: Final = 10
"""A registration that is refused is refused again."""
LEAST_DUEL_SECONDS: Final = 30.0
MOST_DUEL_TRIES: Final = 2
"""Two programs that each take the device back within seconds are a fight, and WhatsApp sees it as
one.
"""
LONGEST_WAIT_SECONDS: Final = 24 * 3600.0
LONGEST_AT_ONCE_SECONDS: Final = 10.0
"""A pairing has some 20 s after its 515 before the phone gives up."""

PACE_NUMBERS: Final[Mapping[Pace, Mapping[str, float | None]]] = {
    Pace.COMMON: {"minimum_seconds": 0.0, "base_seconds": None, "cap_seconds": None},
    Pace.STEPS: {"minimum_seconds": 0.0, "base_seconds": 30.0, "cap_seconds": 900.0},
    Pace.SPREAD: {"minimum_seconds": 30.0, "base_seconds": None, "cap_seconds": 60.0},
}
"""What a row begins with when a file gives it another pace."""
WITHOUT_BASE: Final = frozenset({Pace.NOW, Pace.SPREAD, Pace.STORE})
AT_ONCE: Final = frozenset({R.RESTART_REQUIRED, R.REQUESTED, R.DEAF})


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a key of a row accepts: a test, and the same in words."""

    fits: Callable[[Any], bool]
    words: str


def _one_of(*values: str, why: str = "") -> Accepted:
    return Accepted(
        lambda value: value in values, " or ".join(f'"{value}"' for value in values) + why
    )


def _seconds(least: float = 0.0, most: float = LONGEST_WAIT_SECONDS, why: str = "") -> Accepted:
    return Accepted(
        lambda value: type(value) in {int, float} and least <= value <= most,
        f"seconds from {least:g} to {most:g}{why}",
    )


def _whole(most: int, least: int = 0, why: str = "") -> Accepted:
    return Accepted(
        lambda value: type(value) is int and least <= value <= most,
        f"a whole number from {least} to {most}{why}",
    )


_STORM: Final = ": shorter waits are a storm"
_PAIRING: Final = ": a new pairing is needed, and the credentials are archived, never deleted"
_DUEL: Final = ": another program holds the device, and fighting it gets numbers banned"
_BAN: Final = ": every login of a banned number makes it worse; a human has to see to it"
_TEXT: Final = Accepted(
    lambda value: isinstance(value, str) and 0 < len(value) <= 500, "a text of 1 to 500 characters"
)
_FLAG: Final = Accepted(lambda value: type(value) is bool, "true or false")
_NEVER: Final = Accepted(
    lambda value: value is False,
    "false: only what network and server do to many at once is an outage",
)

_HUMAN_ONLY: Final = {"human": _TEXT}
"""All that is left to say of a row that makes no try."""
_BANNED: Final = {"action": _one_of("park", why=_BAN), **_HUMAN_ONLY}
_AT_ONCE: Final[Mapping[str, Accepted]] = {
    "action": _one_of("retry"),
    "pace": _one_of("at once"),
    "minimum_seconds": _seconds(most=LONGEST_AT_ONCE_SECONDS),
    "cap_seconds": _seconds(most=LONGEST_AT_ONCE_SECONDS),
    "counts": _whole(10),
    "correlated": _NEVER,
    "human": _TEXT,
}
_SERVER: Final[Mapping[str, Accepted]] = {
    "action": _one_of("retry", "park"),
    "pace": _one_of("common", "steps", "spread"),
    "minimum_seconds": _seconds(),
    "base_seconds": _seconds(LEAST_WAIT_SECONDS, why=_STORM),
    "cap_seconds": _seconds(LEAST_WAIT_SECONDS, why=_STORM),
    "counts": _whole(10),
    "tries": _whole(1000),
    "correlated": _FLAG,
    "human": _TEXT,
}
_TROUBLED: Final = {
    **_SERVER,
    "base_seconds": _seconds(LEAST_BASE_SECONDS[R.SERVER_ERROR], why=_STORM),
    "cap_seconds": _seconds(LEAST_CAP_SECONDS, why=_STORM),
}
_OWN: Final = {**_SERVER, "correlated": _NEVER}
_WORKER: Final = {**_OWN, "pace": _one_of("worker")}
_REFUSED: Final = {
    **_OWN,
    "base_seconds": _seconds(LEAST_BASE_SECONDS[R.REPAIR_NEEDED], why=_STORM),
    "cap_seconds": _seconds(LEAST_BASE_SECONDS[R.REPAIR_NEEDED], why=_STORM),
    "tries": _whole(MOST_REFUSED_TRIES, why=": a registration that is refused is refused again"),
}

KEYS: Final[Mapping[R, Mapping[str, Accepted]]] = {
    **dict.fromkeys(correlated_reasons(), _SERVER),
    **dict.fromkeys((R.SERVER_ERROR, R.UNAVAILABLE), _TROUBLED),
    R.RATE_LIMITED: {
        **_TROUBLED,
        "pace": _one_of("common", why=": it goes on five steps further"),
        "cap_seconds": _seconds(LEAST_LIMITED_CAP_SECONDS, why=": five steps from 2 s"),
        "counts": _whole(10, least=1, why=": WhatsApp says that it is too much"),
    },
    **dict.fromkeys((R.REPAIR_NEEDED, R.UNKNOWN_FAILURE), _REFUSED),
    **dict.fromkeys((R.WORKER_EXITED, R.WORKER_HUNG), _WORKER),
    **dict.fromkeys(AT_ONCE, _AT_ONCE),
    **dict.fromkeys((R.TEMPORARILY_BANNED, R.LOCKED, R.BANNED), _BANNED),
    R.LOGGED_OUT: {"action": _one_of("park", why=_PAIRING), **_HUMAN_ONLY},
    R.OWN_LOGOUT: {"action": _one_of("stop", why=": it was asked for"), **_HUMAN_ONLY},
    R.SAME_DEVICE: {"action": _one_of("park", why=_DUEL), **_HUMAN_ONLY},
    R.QR_EXPIRED: {"action": _one_of("park", why=": nobody is there to scan it"), **_HUMAN_ONLY},
    R.PASSKEY_REQUIRED: {
        "action": _one_of("park", why=": only a human can do what it asks for"),
        **_HUMAN_ONLY,
    },
    R.CLIENT_OUTDATED: {
        "action": _one_of("hold", why=": it concerns all numbers, and retries get them banned"),
        **_HUMAN_ONLY,
    },
    R.STORE_FAILED: {
        **_AT_ONCE,
        "action": _one_of("retry", why=": a full disk is nobody's failure"),
        "pace": _one_of("store"),
        "minimum_seconds": _seconds(LEAST_WAIT_SECONDS),
        "cap_seconds": _seconds(LEAST_WAIT_SECONDS),
    },
    R.REPLACED: {
        **_OWN,
        "pace": _one_of("spread", why=_DUEL),
        "minimum_seconds": _seconds(LEAST_DUEL_SECONDS, why=_DUEL),
        "cap_seconds": _seconds(LEAST_DUEL_SECONDS, why=_DUEL),
        "tries": _whole(MOST_DUEL_TRIES, why=_DUEL),
    },
}  # fmt: skip
"""What each key of each row accepts. A row's other keys do not exist for it."""


def overridden(text: str, rules: Rules = RULES) -> Rules:
    """The table with a policy file's rows over it.

    Raises BadPolicy with a line for each thing that is wrong.
    """
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadPolicy(f"It is not TOML: {error}") from None
    except ValueError:  # Python's own limit, for whole numbers
        raise BadPolicy(
            "It cannot be read: it has a number of thousands of digits, which no key accepts."
        ) from None
    known = {reason.value for reason in R}
    wrong = [_unknown_row(name, known) for name in tables if name not in known]
    changed: dict[R, Rule] = {}
    for reason in R:
        row = tables.get(reason.value, {})
        twice = list(_said_twice(reason, row))
        row = _in_our_words(row)
        complaints = twice or list(_complaints(reason, row))
        if not complaints:
            changed[reason] = _changed(reason, rules[reason], row)
            complaints = list(_contradictions(reason, changed[reason], row))
        wrong += complaints
    if wrong:
        raise BadPolicy("\n".join(wrong))
    return changed


def file_value(rule: Rule, key: str) -> Any:
    """A row's value of a key, as a file says it."""
    value = getattr(rule, key)
    match value:
        case Action():
            return next(word for word, action in ACTIONS.items() if action is value)
        case Pace():
            return value.value
        case _:
            return value


def _in_our_words(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    return {CAMEL.get(key, key): value for key, value in row.items()}


def _said_twice(reason: R, row: object) -> Iterator[str]:
    for camel, key in CAMEL.items():
        if isinstance(row, dict) and camel in row and key in row:
            yield f"[{reason}] {camel}: {key} is the same key: say it once."


def _unknown_row(name: str, known: Collection[str]) -> str:
    return (
        f"[{name}]: there is no such row{_similar(name, known)} A row is named as its close reason."
    )


def _complaints(reason: R, row: object) -> Iterator[str]:
    """What is wrong with single keys."""
    if not isinstance(row, dict):
        yield f"{reason} = {_shown(row)}: a row is a table: [{reason}]"
        return
    for key, value in row.items():
        accepted = KEYS[reason].get(key)
        if accepted is None:
            keys = ", ".join(KEYS[reason])
            yield (
                f"[{reason}] {key} = {_shown(value)}: there is no such"
                f" key{_similar(key, KEYS[reason])} This row accepts {keys}."
            )
        elif isinstance(value, list | dict) or not accepted.fits(value):
            yield f"[{reason}] {key} = {_shown(value)}: it accepts {accepted.words}."


def _changed(reason: R, rule: Rule, row: Mapping[str, Any]) -> Rule:
    changes: dict[str, Any] = {
        key: float(value) if key.endswith("_seconds") else value for key, value in row.items()
    }
    if "action" in changes:
        changes["action"] = ACTIONS[changes["action"]]
    if "pace" in changes:
        changes["pace"] = Pace(changes["pace"])
        if changes["pace"] is not rule.pace:
            least = LEAST_BASE_SECONDS.get(reason, 0.0)
            changes = {"base_at_least_seconds": least, **PACE_NUMBERS[changes["pace"]], **changes}
    rule = replace(rule, **changes)
    by_itself = rule.human == NOTHING or AS_SOON_AS in rule.human
    if by_itself and (rule.action is Action.PARK or rule.tries is not None):
        rule = replace(rule, human=FORCE)
    return rule


def _contradictions(reason: R, rule: Rule, row: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a row's keys taken together."""
    if rule.pace in WITHOUT_BASE and "base_seconds" in row:
        yield (
            f"[{reason}] base_seconds = {_shown(row['base_seconds'])}: it accepts nothing: the pace"
            f" {rule.pace} has no base."
        )
    for key in ("base_seconds", "minimum_seconds"):
        number, cap = getattr(rule, key), rule.cap_seconds
        if number is not None and cap is not None and number > cap:
            yield (
                f"[{reason}] {key} = {number:g}: it accepts at most the row's cap_seconds"
                f" ({cap:g})."
            )
    least = LEAST_SPREAD_SECONDS if reason in LEAST_BASE_SECONDS else LEAST_WAIT_SECONDS
    if rule.pace is Pace.SPREAD and rule.minimum_seconds < least:
        yield (
            f"[{reason}] minimum_seconds = {rule.minimum_seconds:g}: it accepts {least:g} or more"
            f" with the pace spread{_STORM}."
        )


def _similar(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else "."


def _shown(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value[:80]}"'
        case _:
            return _shortened(value)


def _shortened(value: object) -> str:
    try:
        return str(value)[:80]
    except ValueError:
        # Python writes no whole number of so many digits, wherever in the value it is
        return "a number of thousands of digits"
