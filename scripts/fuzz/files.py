"""The files and settings that an operator hands in: refused in words, or taken; never a traceback,
never for ever.
"""

import asyncio
import os
import random
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from unittest import mock

from scripts.fuzz.mutation import NUMBERS, TEXTS, broken
from sessions.model import BadPolicy, InvalidSessionId, SessionId, WasupError, parse_session_id
from sessions.policy import RULES
from sessions.store import Store, sqlite_url
from sessions.store.backups import backup as store_backup
from supervisor.alerts.channels.alerts_file import TABLES, BadAlertsFile, read_alerts_file
from supervisor.alerts.channels.channel_settings import KINDS, Table
from supervisor.fleet.policy_file import read_rules
from supervisor.settings import SECRETS, BadSettings, Settings, load, variable

RESTORE_SECONDS: Final = 60.0
POLICY: Final = """[connection_lost]
base_seconds = 4
cap_seconds = 120

[replaced]
tries = 1
"""
ALERTS: Final = """[channels.email]
recipients = ["ops@example.com"]

[channels.ntfy]
url = "https://ntfy.sh/topic"
"""


async def make_backup(directory: Path) -> Path:
    """A backup of a store that has something in each of its tables that matter."""
    store = await Store.open(sqlite_url(directory / "origin.db"))
    try:
        for name in ("a", "b"):
            await store.create_session(SessionId(name), wanted=False)
            await store.append_event(name, "x", b'{"text":"hello"}')
        await store_backup.backup(store, directory / "backup.db")
    finally:
        await store.close()
    return directory / "backup.db"


async def throw_backup(directory: Path, backup: Path, rng: random.Random) -> str | None:
    """Restore a mangled backup into an empty store; what is wrong with that."""
    file = directory / "mangled.db"
    if rng.random() < 0.4:
        file.write_bytes(broken(rng, backup.read_bytes()))
    else:
        file.write_bytes(backup.read_bytes())
        _mangle_rows(file, rng)
    target = directory / "target.db"
    for left in (target, *directory.glob("target.db-*")):
        left.unlink(missing_ok=True)
    try:
        async with asyncio.timeout(RESTORE_SECONDS):
            await store_backup.restore(file, sqlite_url(target), directory)
            store = await Store.open(sqlite_url(target))
            try:
                names = [row.id for row in await store.sessions()]
            finally:
                await store.close()
    except WasupError as error:
        return None if error.hint and str(error) else f"refused without words: {error!r}"
    except TimeoutError:
        return f"it was not over after {RESTORE_SECONDS:g} s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    odd = [name for name in names if not _is_session_id(name)]
    return f"it took in sessions that no call can name: {odd}" if odd else None


def _mangle_rows(file: Path, rng: random.Random) -> None:
    connection = sqlite3.connect(file)
    try:
        tables = [
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        table = rng.choice(sorted(name for name in tables if not name.startswith("sqlite_")))
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
        column = rng.choice(columns)
        given = rng.choice(
            (*TEXTS[:7], *(n for n in NUMBERS if abs(n) < 2**63), None, b"\xff\xfe", b"{")
        )
        statement = rng.choice(
            (
                f'UPDATE "{table}" SET "{column}" = ?',
                f'DROP TABLE "{table}"',
                f'ALTER TABLE "{table}" RENAME TO other',
                f'CREATE TRIGGER evil AFTER INSERT ON "{table}" BEGIN DELETE FROM "{table}"; END',
                f'DELETE FROM "{table}"',
            )
        )
        with connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute(statement, (given,) if "?" in statement else ())
    except sqlite3.Error:
        return  # a change that the file itself refuses is none
    finally:
        connection.close()


def _is_session_id(name: str) -> bool:
    try:
        parse_session_id(name)
    except InvalidSessionId:
        return False
    return True


def throw_policy(directory: Path, rng: random.Random) -> str | None:
    """A wrong policy file; what is wrong with how it is taken."""
    reason = rng.choice(sorted(rule.value for rule in RULES))
    keys = (
        "action",
        "pace",
        "base_seconds",
        "cap_seconds",
        "minimum_seconds",
        "tries",
        "correlated",
        "human",
        "counts",
        "x",
    )
    given = rng.choice(
        (
            *(repr(text) for text in TEXTS[:6]),
            *map(str, NUMBERS),
            "true",
            "[1, 2]",
            "{a = 1}",
            "nan",
            '"park"',
            '"retry"',
            "1979-05-27",
        )
    )
    text = f"{POLICY}\n[{reason}]\n{rng.choice(keys)} = {given}\n"
    file = directory / "policy.toml"
    raw = text.encode("utf-8", "surrogatepass")
    file.write_bytes(broken(rng, raw) if rng.random() < 0.5 else raw)
    return _refused_in_words(lambda: read_rules(file), BadPolicy)


def throw_alerts(directory: Path, rng: random.Random) -> str | None:
    """A wrong file of alerts; what is wrong with how it is taken."""
    kinds: list[type[Table]] = [*TABLES, *KINDS.values()]
    keys = sorted({key for kind in kinds for key in kind.model_fields})
    odd = (
        *(repr(text) for text in TEXTS[:6]),
        *map(str, NUMBERS),
        "0x" + "f" * 9000,
        '"http://[x"',
        '"\\u0000"',
        '["warning"]',
        "[1, 2]",
        "{a = 1}",
        "nan",
        "1979-05-27",
    )
    table = rng.choice(("", "[smtp]", "[thresholds]", "[channels.a]\ntype = 'webhook'"))
    key = rng.choice((*keys, "type", "url_file", "token_env"))
    file = directory / "alerts.toml"
    raw = f"{ALERTS}\n{table}\n{key} = {rng.choice(odd)}\n".encode("utf-8", "surrogatepass")
    file.write_bytes(broken(rng, raw) if rng.random() < 0.5 else raw)
    return _refused_in_words(lambda: read_alerts_file(file), BadAlertsFile)


def throw_settings(directory: Path, rng: random.Random) -> str | None:
    """Wrong settings; what is wrong with how they are taken. No secret may be told."""
    names = rng.sample(sorted(Settings.model_fields), rng.choice((1, 1, 2, 4)))
    texts = [text.replace("\0", "") for text in TEXTS if len(text) < 1000]
    secret = "s3cret-" + "q" * rng.randrange(20)
    given = {}
    for name in names:
        odd = (
            *texts,
            *map(str, NUMBERS),
            "nan",
            "inf",
            "True",
            "\udcff",
            "ws://u:p@h/",
            "[::1",
            f"x://{secret}",
        )
        given[variable(name)] = secret if name in SECRETS else rng.choice(odd)
    environment = {
        name: text for name, text in os.environ.items() if not name.startswith("WHATSAPP_")
    } | given
    told = _loaded(environment, directory)
    return (
        f"a secret is told of {given}"
        if told is not None and secret in told and _only_in_secrets(given, secret)
        else (told if told is not None and told.startswith("!") else None)
    )


def _loaded(environment: Mapping[str, str], directory: Path) -> str | None:
    """What is said about these settings; what begins with an exclamation mark should not have been
    raised at all.
    """
    before = Path.cwd()
    os.chdir(directory)
    try:
        with mock.patch.dict(os.environ, environment, clear=True):
            load()
    except BadSettings as error:
        return str(error) or "!refused without words"
    except Exception as error:
        return (
            f"!{type(error).__name__}: {error} of"
            f" { {n: v for n, v in environment.items() if n.startswith('WHATSAPP_')} }"
        )
    finally:
        os.chdir(before)
    return None


def _only_in_secrets(given: Mapping[str, str], secret: str) -> bool:
    secrets = {variable(name) for name in SECRETS}
    return all(name in secrets for name, text in given.items() if secret in text)


def _refused_in_words(work: Callable[[], object], refusal: type[Exception]) -> str | None:
    try:
        work()
    except refusal as error:
        return None if str(error) else "refused without words"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
