"""The policy file: read, and put in force at the start and whenever an operator asks, without
restarting a session.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import structlog

from sessions.model import BadPolicy, EventData
from sessions.policy import (
    RULES,
    Config,
    Rules,
    as_toml,
    changes,
    in_words,
    overridden,
    said,
)
from sessions.ports import Publish
from sessions.views.times import iso

log = structlog.get_logger("policy")


def read_rules(path: Path | None) -> Rules:
    """The table with the file's rows over it; the default table without a file.

    Raises BadPolicy, which names the file.
    """
    if path is None:
        return RULES
    try:
        return overridden(path.expanduser().read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadPolicy(
            f"The policy file {path} cannot be read: {error.strerror or error}."
        ) from None
    except UnicodeDecodeError:
        raise BadPolicy(f"The policy file {path} is not UTF-8 text.") from None
    except BadPolicy as error:
        lines = str(error).splitlines()
        raise BadPolicy("\n".join(f"{path}: {line}" for line in lines)) from None


def in_sentences(rules: Rules, before: Rules = RULES) -> list[str]:
    """What differs between two tables, a line for each row and key."""
    return [
        f"[{reason}] {key}: {_shown(was)} -> {_shown(now)}"
        for reason, keys in changes(rules, before).items()
        for key, (was, now) in keys.items()
    ]


class PolicyChanged(EventData, frozen=True):
    """The policy file was read again. `changed`: what differs since, a sentence for each key."""

    type: ClassVar[str] = "policy.changed"
    file: str | None
    changed: list[str]


class PolicyView(msgspec.Struct, frozen=True, rename="camel"):
    """The policy in force.

    `changed`: where it differs from the defaults, in sentences. `rules`: each row, with the keys
    that a file may give it; beside them `does`, the row in words, and what becomes of the
    `credentials`. `toml`: all of it as a policy file.
    """

    file: str | None
    loaded_at: str
    changed: list[str]
    rules: dict[str, Any]
    toml: str


class LivePolicy:
    """The policy in force.

    `follow` is told of each new one: every session judges by it from its next close on.
    """

    def __init__(
        self,
        path: Path | None,
        config: Config,
        publish: Publish,
        follow: Callable[[Config], None],
    ) -> None:
        self._path = path
        self._publish = publish
        self._loaded_at = time.time()
        self.config = config
        self._follow = follow

    def reload(self) -> list[str]:
        """Read the file again; what differs now, in sentences.

        Raises BadPolicy: then the policy in force stays in force.
        """
        rules = read_rules(self._path)
        differences = in_sentences(rules, self.config.rules)
        self.config = replace(self.config, rules=rules)
        self._loaded_at = time.time()
        self._follow(self.config)
        self._publish(None, PolicyChanged(self._file(), differences))
        log.info(
            "the policy was reloaded",
            action="policy_reloaded",
            file=self._file(),
            changed=differences,
        )
        return differences

    def view(self) -> PolicyView:
        """The policy, to be shown."""
        rules = {
            reason.value: {
                "does": in_words(rule),
                "credentials": rule.credentials.value,
                **said(reason, rule),
            }
            for reason, rule in self.config.rules.items()
        }
        changed = in_sentences(self.config.rules)
        return PolicyView(self._file(), iso(self._loaded_at), changed, rules, as_toml(self.config))

    def _file(self) -> str | None:
        return None if self._path is None else str(self._path)


def _shown(value: object) -> str:
    match value:
        case None:
            return "unset"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case str():
            return f'"{value}"'
        case _:
            return str(value)
