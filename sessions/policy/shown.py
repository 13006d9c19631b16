"""The table as a policy file: all of it, what is the default marked as such.

Pure; what is written can be read again (overrides.py).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sessions.model import CloseReason
from sessions.policy.decide import Config
from sessions.policy.overrides import CAMEL, KEYS, WITHOUT_BASE, file_value
from sessions.policy.rules import RULES, Action, Credentials, Mend, Pace, Rule, Rules, in_words

IN_CAMEL_CASE: Final[Mapping[str, str]] = {key: camel for camel, key in CAMEL.items()}
NUMBERS: Final = frozenset({"pace", "minimum_seconds", "base_seconds", "cap_seconds"})
"""They mean nothing in a row that makes no try; but another pace begins with other numbers, and
then they are needed to read it again.
"""


def as_toml(config: Config) -> str:
    """The whole table as TOML.

    A number of the settings is shown in a comment, so that the text, used as a file, changes
    nothing.
    """
    rows = (_row(reason, config.rules[reason], config) for reason in CloseReason)
    head = (
        "# What wasup does after a close, a row for each close reason. A policy file needs only"
        " what it changes (docs/policy.md).\n"
    )
    return head + "\n" + "\n\n".join("\n".join(row) for row in rows) + "\n"


def changes(
    rules: Rules, before: Rules = RULES
) -> Mapping[CloseReason, Mapping[str, tuple[Any, Any]]]:
    """The rows that differ: key, what it was, what it is; each as a file would say it."""
    differing = {
        reason: {
            key: (file_value(before[reason], key), file_value(rules[reason], key))
            for key in KEYS[reason]
            if getattr(before[reason], key) != getattr(rules[reason], key)
        }
        for reason in CloseReason
    }
    return {reason: keys for reason, keys in differing.items() if keys}


def said(reason: CloseReason, rule: Rule) -> Mapping[str, Any]:
    """What a file would say of the row: the keys that it accepts there and that have a value, as
    the API writes them. A number that its action or pace has no use for is left out.
    """
    return {
        IN_CAMEL_CASE.get(key, key): value
        for key in _keys(reason, rule)
        if (value := file_value(rule, key)) is not None
    }


def _keys(reason: CloseReason, rule: Rule) -> Iterator[str]:
    default = RULES[reason]
    for key in KEYS[reason]:
        same = getattr(rule, key) == getattr(default, key)
        idle = key in NUMBERS and rule.action is not Action.RETRY and rule.pace is default.pace
        if not (idle and same) and not (key == "base_seconds" and rule.pace in WITHOUT_BASE):
            yield key


def _row(reason: CloseReason, rule: Rule, config: Config) -> Iterator[str]:
    default = RULES[reason]
    all_default = rule == default
    yield f"[{reason}]  # {in_words(rule)}" + ("; all default" if all_default else "")
    for key in _keys(reason, rule):
        value = getattr(rule, key)
        if value is None:
            yield f"# {key}: {_unset(key, rule, config)}"
        else:
            yield f"{key} = {_toml(file_value(rule, key))}" + (
                "" if all_default else _against(default, key, value)
            )
    if rule.credentials is Credentials.ARCHIVE:
        yield "# credentials: archived, never deleted; no file can change that"
    if rule.mend is Mend.HUMAN:
        yield "# mend: only a human can; no file can change that"


def _against(default: Rule, key: str, value: object) -> str:
    if value == getattr(default, key):
        return "  # default"
    was = file_value(default, key)
    return f"  # changed; the default is {'unset' if was is None else _toml(was)}"


def _unset(key: str, rule: Rule, config: Config) -> str:
    match key:
        case "base_seconds" if rule.pace is Pace.COMMON:
            base = max(rule.base_at_least_seconds, config.base_seconds)
            least = (
                f", at least {rule.base_at_least_seconds:g}" if rule.base_at_least_seconds else ""
            )
            return f"{base:g}, the setting WHATSAPP_RECONNECTION_BASE_DELAY{least}"
        case "cap_seconds" if rule.pace is Pace.COMMON:
            return f"{config.cap_seconds:g}, the setting WHATSAPP_RECONNECTION_MAX_DELAY"
        case "tries":
            return "no limit"
        case _:
            return "unset"


def _toml(value: object) -> str:
    """JSON writes strings, numbers and flags as TOML does, except for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
