"""The settings: the names and defaults that scripts use, and refusals that say which variable, what it holds
and what it takes.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from sessions.workers.limits import Limits
from supervisor import settings
from supervisor.settings import (
    BadSettings,
    Settings,
    file_warnings,
    is_loopback,
    load,
    unknown_variables,
    variable,
)

pytestmark = pytest.mark.usefixtures("bare_environment")
KEY = "ab" * 32
TOKEN = "0123456789abcdef"

SEED_002 = {
    "WHATSAPP_RECONNECTION_MAX_RETRIES": 10,
    "WHATSAPP_RECONNECTION_BASE_DELAY": 2000,
    "WHATSAPP_RECONNECTION_MAX_DELAY": 300000,
    "WHATSAPP_CIRCUIT_BREAKER_THRESHOLD": 5,
    "WHATSAPP_CIRCUIT_BREAKER_TIMEOUT": 600000,
    "WHATSAPP_PERFORMANCE_MONITORING": True,
    "WHATSAPP_HEALTH_CHECK_INTERVAL": 30000,
    "WHATSAPP_MEMORY_THRESHOLD": 0.8,
    "WHATSAPP_CPU_THRESHOLD": 0.9,
    "WHATSAPP_ERROR_RATE_THRESHOLD": 0.1,
    "WHATSAPP_RESPONSE_TIME_THRESHOLD": 5000,
}


@pytest.mark.parametrize(("name", "default"), SEED_002.items())
def test_the_seeds_names_and_defaults_are_kept(name: str, default: object) -> None:
    assert getattr(load(), name.removeprefix("WHATSAPP_").lower()) == default


def test_the_rest_of_the_design_is_kept(bare_environment: Path) -> None:
    loaded = load()
    assert (loaded.connect_timeout, loaded.reconnection_tail_delay, loaded.stable_after) == (
        30_000,
        900_000,
        60_000,
    )
    assert (loaded.gate_rate, loaded.gate_burst) == (5.0, 10)
    assert (loaded.egress_rate, loaded.egress_burst) == (None, None), "as the fleet's"
    assert (loaded.worker_crash_budget, loaded.worker_crash_window) == (5, 600_000)
    assert (loaded.api_host, loaded.data_dir) == ("127.0.0.1", bare_environment / "data")


def test_every_setting_says_what_it_is_for() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("WHATSAPP_RECONNECTION_MAX_RETRIES", "0", "greater than or equal to 1"),
        ("WHATSAPP_RECONNECTION_MAX_RETRIES", "ten", "whole number"),
        ("WHATSAPP_RECONNECTION_BASE_DELAY", "1e3", "whole number"),
        ("WHATSAPP_RECONNECTION_BASE_DELAY", "10.0", "whole number"),
        ("WHATSAPP_RECONNECTION_BASE_DELAY", "-5", "whole number"),
        ("WHATSAPP_RECONNECTION_BASE_DELAY", "2s", "whole number"),
        ("WHATSAPP_CIRCUIT_BREAKER_TIMEOUT", "99999999999", "less than or equal to"),
        ("WHATSAPP_PERFORMANCE_MONITORING", "maybe", "bool"),
        ("WHATSAPP_MEMORY_THRESHOLD", "80", "less than or equal to 1"),
        ("WHATSAPP_MEMORY_THRESHOLD", "0", "greater than 0"),
        ("WHATSAPP_CPU_THRESHOLD", "nan", "finite"),
        ("WHATSAPP_DESCRIPTOR_THRESHOLD", "1.1", "less than or equal to 1"),
        ("WHATSAPP_LOAD_THRESHOLD", "0", "greater than 0"),
        ("WHATSAPP_LOAD_THRESHOLD", "inf", "finite"),
        ("WHATSAPP_WEBSOCKET_THRESHOLD", "0", "greater than or equal to 1"),
        ("WHATSAPP_WEBSOCKET_THRESHOLD", "5e2", "whole number"),
        ("WHATSAPP_GATE_RATE", "0", "greater than 0"),
        ("WHATSAPP_GATE_RATE", "inf", "finite"),
        ("WHATSAPP_API_PORT", "65536", "less than or equal to 65535"),
        ("WHATSAPP_WORKER_MAX_HEAP", "16", "greater than or equal to 32"),
        ("WHATSAPP_SPARE_WORKERS", "65", "less than or equal to 64"),
        ("WHATSAPP_SPARE_WORKERS", "-1", "whole number"),
        ("WHATSAPP_WORKER_MEMORY_SOFT", "31", "greater than or equal to 32"),
        ("WHATSAPP_WORKER_MEMORY_HARD", "1G", "whole number"),
        ("WHATSAPP_WORKER_MAX_LAG", "0", "greater than or equal to 1"),
        ("WHATSAPP_ADOPTION_WINDOW", "forever", "whole number"),
        ("WHATSAPP_SHUTDOWN", "kill", "stop|detach"),
        ("WHATSAPP_LOG_FORMAT", "xml", "auto|json|human"),
        ("WHATSAPP_LOG_LEVEL", "loud", "debug|info|warning|error"),
        ("WHATSAPP_WEB_SOCKET_URL", "http://127.0.0.1:1", "a ws:// or wss:// URL"),
        ("WHATSAPP_TIME_ZONE", "America/Atlantis", "America/Sao_Paulo"),
        ("WHATSAPP_BACKUP_SCHEDULE", "hourly", "five fields"),
        ("WHATSAPP_BACKUP_SCHEDULE", "0 0 31 2 *", "five fields"),
        ("WHATSAPP_BACKUP_KEEP_DAILY", "-1", "whole number"),
        ("WHATSAPP_DATABASE_POOL_SIZE", "0", "greater than or equal to 1"),
        ("WHATSAPP_DATABASE_MAX_OVERFLOW", "-1", "whole number"),
        ("WHATSAPP_LOG_DAYS", "0", "greater than or equal to 1"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_its_value_and_what_is_accepted(
    name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings) as caught:
        load()
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{name} is ")
    assert value in line
    assert says in line


def test_every_bad_value_gets_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_GATE_RATE", "0")
    monkeypatch.setenv("WHATSAPP_GATE_BURST", "0")
    with pytest.raises(BadSettings) as caught:
        load()
    assert len(str(caught.value).splitlines()) == 2


def test_an_empty_value_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_GATE_BURST", "")
    assert load().gate_burst == 10


def test_values_that_contradict_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_RECONNECTION_BASE_DELAY", "300001")
    with pytest.raises(
        BadSettings,
        match=r"WHATSAPP_RECONNECTION_MAX_DELAY is 300000; it accepts at least .*300001",
    ):
        load()
    monkeypatch.delenv("WHATSAPP_RECONNECTION_BASE_DELAY")
    monkeypatch.setenv("WHATSAPP_WORKER_HEARTBEAT_TIMEOUT", "9999")
    with pytest.raises(
        BadSettings, match="WHATSAPP_WORKER_HEARTBEAT_TIMEOUT is 9999; it accepts at least twice"
    ):
        load()


def test_a_hard_limit_that_is_not_above_the_soft_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for soft, hard in [("400", "400"), ("900", "800")]:
        monkeypatch.setenv("WHATSAPP_WORKER_MEMORY_SOFT", soft)
        monkeypatch.setenv("WHATSAPP_WORKER_MEMORY_HARD", hard)
        with pytest.raises(
            BadSettings,
            match=f"WHATSAPP_WORKER_MEMORY_HARD is {hard}; it accepts more than .*{soft}",
        ):
            load()
    monkeypatch.setenv("WHATSAPP_WORKER_MEMORY_SOFT", "100")
    monkeypatch.setenv("WHATSAPP_WORKER_MAX_LAG", "250")
    assert load().limits() == Limits(soft_bytes=100 * 2**20, hard_bytes=800 * 2**20, lag_ms=250.0)


@pytest.mark.parametrize(
    ("shutdown", "pm_id", "detaches"),
    [
        (None, None, False),
        (None, "0", True),
        (None, "", True),
        ("stop", "0", False),
        ("detach", None, True),
        ("detach", "0", True),
    ],
)
def test_workers_live_on_under_pm2_unless_told_otherwise(
    shutdown: str | None, pm_id: str | None, detaches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("pm_id", raising=False)
    if pm_id is not None:
        monkeypatch.setenv("pm_id", pm_id)
    if shutdown is not None:
        monkeypatch.setenv("WHATSAPP_SHUTDOWN", shutdown)
    assert load().detaches() is detaches


def test_the_adoption_window_is_told_to_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().worker_environment()["WASUP_ADOPTION_WINDOW_MS"] == "60000"
    monkeypatch.setenv("WHATSAPP_ADOPTION_WINDOW", "5000")
    assert load().worker_environment()["WASUP_ADOPTION_WINDOW_MS"] == "5000"


def test_spare_workers_may_be_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().spare_workers == 1
    monkeypatch.setenv("WHATSAPP_SPARE_WORKERS", "0")
    assert load().spare_workers == 0


# --- security -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "ws://",
        "ws://user@127.0.0.1",
        "ws://127.0.0.1@example.com",
        r"ws://example.com\@127.0.0.1",
        "ws://[::1",
        "http://127.0.0.1",
    ],
)
def test_a_url_that_python_and_node_may_read_differently_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATSAPP_NOISE_ROOT_KEY", KEY)
    monkeypatch.setenv("WHATSAPP_WEB_SOCKET_URL", url)
    with pytest.raises(BadSettings, match=r"WHATSAPP_WEB_SOCKET_URL is .* accepts"):
        load()


@pytest.mark.parametrize(
    "url",
    [
        None,
        "wss://web.whatsapp.com/ws/chat",
        "ws://192.168.1.5:8080",
        "ws://127.0.0.1.example.com",
        "ws://localhost.example.com",
        "ws://0.0.0.0:1",
    ],
)
def test_another_root_key_is_refused_unless_the_server_is_on_loopback(
    url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATSAPP_NOISE_ROOT_KEY", KEY)
    if url is not None:
        monkeypatch.setenv("WHATSAPP_WEB_SOCKET_URL", url)
    with pytest.raises(BadSettings, match="WHATSAPP_NOISE_ROOT_KEY") as caught:
        load()
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:8080/{session}", "ws://[::1]:1", "wss://localhost:5", "ws://127.9.9.9"]
)
def test_another_root_key_is_taken_with_a_server_on_loopback(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATSAPP_NOISE_ROOT_KEY", KEY)
    monkeypatch.setenv("WHATSAPP_WEB_SOCKET_URL", url)
    environment = load().worker_environment()
    assert (environment["WASUP_NOISE_ROOT_KEY"], environment["WASUP_WEB_SOCKET_URL"]) == (KEY, url)


def test_a_root_key_that_is_no_key_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHATSAPP_NOISE_ROOT_KEY", "not-a-key")
    monkeypatch.setenv("WHATSAPP_WEB_SOCKET_URL", "ws://127.0.0.1:1")
    with pytest.raises(BadSettings, match=r"WHATSAPP_NOISE_ROOT_KEY is .hidden.") as caught:
        load()
    assert "not-a-key" not in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])
def test_an_api_that_others_can_reach_needs_a_token(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATSAPP_API_HOST", host)
    with pytest.raises(
        BadSettings, match=r"WHATSAPP_API_HOST is .* unless WHATSAPP_API_TOKEN is set"
    ):
        load()
    monkeypatch.setenv("WHATSAPP_API_TOKEN", TOKEN)
    assert load().api_host == host


def test_a_short_token_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_API_TOKEN", "hunter2")
    with pytest.raises(
        BadSettings, match=r"WHATSAPP_API_TOKEN is .hidden.; it accepts 16"
    ) as caught:
        load()
    assert "hunter2" not in str(caught.value)


def test_a_token_is_never_shown_and_never_handed_to_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHATSAPP_API_TOKEN", TOKEN)
    loaded = load()
    assert TOKEN not in repr(loaded)
    assert TOKEN not in str(loaded.model_dump())
    assert TOKEN not in loaded.model_dump_json()
    assert TOKEN not in str(loaded.worker_environment())


SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    ("token", "says"),
    [
        (f"{TOKEN}\r", "carriage return"),
        (f" {TOKEN}", "no HTTP header"),
        (f"{TOKEN}\t", "no HTTP header"),
        (f"{TOKEN}\nx", "no HTTP header"),
        (f"{TOKEN}\x01{TOKEN}", "no HTTP header"),
    ],
)
def test_a_token_that_no_client_can_send_is_refused_and_not_shown(
    token: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATSAPP_API_TOKEN", token)
    with pytest.raises(
        BadSettings, match=rf"^WHATSAPP_API_TOKEN is \(hidden\); .*{says}"
    ) as caught:
        load()
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("secret", [SECRET, "ü" * 15, "x" * 31])
def test_a_short_signing_secret_is_refused_and_not_shown(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET", secret)
    with pytest.raises(BadSettings, match=r"^JWT_SECRET is \(hidden\); it accepts 32") as caught:
        load()
    assert secret not in str(caught.value)


def test_a_signing_secret_bears_its_own_name_and_is_shown_nowhere(bare_environment: Path) -> None:
    (bare_environment / ".env").write_text(f"JWT_SECRET={KEY}\n")
    (bare_environment / ".env").chmod(0o644)
    loaded = load()
    assert loaded.jwt_secret is not None
    assert loaded.jwt_secret.get_secret_value() == KEY
    assert KEY in set(loaded.secrets())
    assert KEY not in repr(loaded) + str(loaded.model_dump()) + str(loaded.worker_environment())
    assert "chmod 600" in file_warnings(None)[0]


@pytest.mark.parametrize("given", ["environment", "file"])
def test_a_setting_with_a_name_of_its_own_has_no_second_one(
    given: str, bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WHATSAPP_JWT_SECRET", KEY), ("WHATSAPP_FEED_CPU_THRESHOLD", "7")):
        if given == "environment":
            monkeypatch.setenv(name, value)
        else:
            with (bare_environment / ".env").open("a") as file:
                file.write(f"{name}={value}\n")
    loaded = load()
    assert (loaded.jwt_secret, "feed_cpu_threshold" in loaded.model_fields_set) == (None, False)
    assert len(unknown_variables()) == 2, "it says that they are ignored"


@pytest.mark.parametrize(
    "origins",
    [
        "*",
        "panel.example.com",
        "https://panel.example.com/",
        "https://Panel.example.com",
        "null",
        "https://a.example, *",
        "https://a.example:port",
        "https://u@a.example",
    ],
)
def test_an_origin_that_no_browser_says_is_refused(
    origins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATSAPP_CORS_ORIGINS", origins)
    with pytest.raises(BadSettings, match=r"^WHATSAPP_CORS_ORIGINS is .*it accepts origins"):
        load()


def test_origins_are_taken_as_browsers_say_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().allowed_origins == frozenset()
    monkeypatch.setenv(
        "WHATSAPP_CORS_ORIGINS", "https://panel.example.com, http://localhost:3000,http://[::1]:80"
    )
    assert load().allowed_origins == {
        "https://panel.example.com",
        "http://localhost:3000",
        "http://[::1]:80",
    }


@pytest.mark.parametrize(
    "url",
    [
        f"ws://someone:{SECRET}@127.0.0.1/ws",
        f"http://127.0.0.1/?key={SECRET}",
        rf"ws://example.com\{SECRET}@127.0.0.1",
        f"{SECRET}@",
    ],
)
def test_the_password_of_a_bad_server_url_is_not_quoted(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATSAPP_WEB_SOCKET_URL", url)
    with pytest.raises(
        BadSettings, match=r"^WHATSAPP_WEB_SOCKET_URL is \(hidden\); it accepts a ws://"
    ) as caught:
        load()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", sorted(variable(name) for name in Settings.model_fields))
def test_a_url_s_password_is_quoted_of_no_variable(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may take one variable for another; `*` is nobody's value."""
    monkeypatch.setenv(name, f"postgresql://someone:{SECRET}@*:x/y")
    told = ""
    try:
        load()
    except BadSettings as error:
        told = str(error)
    assert SECRET not in told
    assert told == "" or name in told, "some take any text"


@pytest.mark.parametrize("name", sorted(variable(name) for name in Settings.model_fields))
def test_a_value_that_is_no_text_is_named_and_not_quoted(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environb, name.encode(), SECRET.encode() + b"\xff")
    with pytest.raises(BadSettings, match=f"^{name} is not UTF-8 text") as caught:
        load()
    assert SECRET not in str(caught.value)


def test_every_secret_is_told_to_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_API_TOKEN", TOKEN)
    monkeypatch.setenv("WHATSAPP_STORE_KEY", f"{KEY}, {KEY[::-1]}")
    monkeypatch.setenv("WHATSAPP_DATABASE_URL", f"postgresql://wasup:%40{SECRET}@127.0.0.1/wasup")
    assert {TOKEN, KEY, KEY[::-1], f"%40{SECRET}", f"@{SECRET}"} <= set(load().secrets())


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (SECRET, "key 1 is neither 64 hex digits nor base64 of 32 bytes"),
        (f"{KEY},{SECRET}", "key 2 is neither"),
        (f"{KEY},", "key 2 is neither"),
        (f"{KEY},{KEY}", "the same key is given twice"),
        (KEY[:-2], "key 1 is neither"),
    ],
)
def test_a_bad_store_key_is_refused_and_not_quoted(
    keys: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATSAPP_STORE_KEY", keys)
    with pytest.raises(BadSettings, match=r"^WHATSAPP_STORE_KEY is \(hidden\); ") as caught:
        load()
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)
    assert KEY[:-2] not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://wasup:{SECRET}@127.0.0.1/wasup",
        f"wasup:{SECRET}@127.0.0.1/wasup",
        f"postgresql://wasup:{SECRET}@127.0.0.1:port/wasup",
        f"sqlite://{SECRET}/wasup.db",
    ],
)
def test_a_bad_database_url_is_refused_and_not_quoted(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATSAPP_DATABASE_URL", url)
    with pytest.raises(BadSettings, match=r"^WHATSAPP_DATABASE_URL is \(hidden\); ") as caught:
        load()
    assert SECRET not in str(caught.value)


def test_store_secrets_are_never_shown_and_never_handed_to_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHATSAPP_STORE_KEY", KEY)
    monkeypatch.setenv("WHATSAPP_DATABASE_URL", f"postgresql://wasup:{SECRET}@127.0.0.1/wasup")
    loaded = load()
    for text in (
        repr(loaded),
        str(loaded.model_dump()),
        loaded.model_dump_json(),
        str(loaded.worker_environment()),
    ):
        assert KEY not in text
        assert SECRET not in text


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.255.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("", False),
        (None, False),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
    ],
)
def test_loopback_is_told_from_everything_else(host: str | None, loopback: bool) -> None:
    assert is_loopback(host) is loopback


# --- where they come from -------------------------------------------------------------------------


def test_settings_cannot_be_changed_once_read() -> None:
    loaded = load()
    with pytest.raises(ValidationError, match="frozen"):
        loaded.gate_burst = 1


def test_an_env_file_is_read_and_the_environment_wins(
    bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare_environment / ".env").write_text(
        "WHATSAPP_GATE_BURST=3\nWHATSAPP_API_PORT=5000\nOTHER_THING=1\n"
    )
    monkeypatch.setenv("WHATSAPP_API_PORT", "6000")
    assert (load().gate_burst, load().api_port) == (3, 6000)


@pytest.mark.parametrize(
    "name", ["WHATSAPP_API_TOKEN", "WHATSAPP_DATABASE_URL", "WHATSAPP_DATA_DIR"]
)
def test_a_reference_that_would_become_nothing_is_refused(
    bare_environment: Path, name: str
) -> None:
    (bare_environment / ".env").write_text(f"{name}='{SECRET}${{{SECRET}}}'\n")
    with pytest.raises(
        BadSettings, match=f"^{name} in .*/.env holds .* a variable that is not set"
    ) as caught:
        load()
    assert (SECRET in str(caught.value)) is (name == "WHATSAPP_DATA_DIR"), (
        "a path may be quoted, a secret not"
    )


def test_a_reference_to_what_is_set_or_has_a_default_is_followed(
    bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASS", SECRET)
    (bare_environment / ".env").write_text(
        "WHERE=elsewhere\nWHATSAPP_DATABASE_URL=postgresql://wasup:${PGPASS}@127.0.0.1/wasup\n"
        "WHATSAPP_DATA_DIR=/${WHERE}/${BELOW:-here}\nNOT_OURS=${NOBODY_HAS_SET_IT}\n"
    )
    loaded = load()
    assert loaded.data_dir == Path("/elsewhere/here")
    assert loaded.database_url is not None
    assert SECRET in loaded.database_url.get_secret_value()


@pytest.mark.parametrize(
    ("line", "warned"),
    [
        (f"WHATSAPP_API_TOKEN={TOKEN} #hidden-part", True),
        (f"export WHATSAPP_API_TOKEN = {TOKEN}\t# rotated in May", True),
        (f"WHATSAPP_API_TOKEN='{TOKEN} #hidden-part'", False),
        (f'WHATSAPP_API_TOKEN="{TOKEN}" # a comment', False),
        (f"WHATSAPP_API_TOKEN={TOKEN}#hidden-part", False),
        ("WHATSAPP_API_PORT=4001 # the port", False),
    ],
)
def test_a_secret_that_is_cut_off_is_warned_about(
    bare_environment: Path, line: str, warned: bool
) -> None:
    (bare_environment / ".env").write_text(f"{line}\n")
    (bare_environment / ".env").chmod(0o600)
    found = file_warnings(None)
    assert ["taken for a comment" in warning for warning in found] == [True] * warned
    assert "hidden-part" not in "".join(found)
    token = load().api_token
    assert token is None or token.get_secret_value().endswith("hidden-part") is (
        "hidden-part" in line and not warned
    )


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (f"WHATSAPP_API_TOKEN={TOKEN}", 0o600, None),
        (f"WHATSAPP_API_TOKEN={TOKEN}", 0o644, "chmod 600"),
        (f"WHATSAPP_STORE_KEY={KEY}", 0o640, "chmod 600"),
        (f"WHATSAPP_DATABASE_URL=postgresql://a:{SECRET}@127.0.0.1/a", 0o604, "chmod 600"),
        ("WHATSAPP_API_TOKEN=", 0o644, None),
        ("WHATSAPP_API_PORT=4001", 0o644, None),
        ("WHATSAPP_API_PORT=4001", 0o664, "chmod go-w"),
    ],
)
def test_a_file_that_others_can_read_or_change_is_warned_about(
    bare_environment: Path, content: str, mode: int, says: str | None
) -> None:
    file = bare_environment / ".env"
    file.write_text(f"{content}\n")
    file.chmod(mode)
    found = file_warnings(None)
    assert len(found) == (says is not None)
    assert all(f"{says} {file}" in warning for warning in found)


def test_the_file_of_another_owner_may_be_read_by_our_group(
    bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """root:wasup, 0640: what docs/deployment.md advises."""
    file = bare_environment / ".env"
    file.write_text(f"WHATSAPP_API_TOKEN={TOKEN}\n")
    file.chmod(0o640)
    monkeypatch.setattr(settings.os, "geteuid", lambda: file.stat().st_uid + 1)
    assert file_warnings(None) == []
    file.chmod(0o644)
    assert len(file_warnings(None)) == 1


def test_a_policy_that_others_can_change_is_warned_about(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("")
    policy.chmod(0o644)
    assert file_warnings(policy) == []
    policy.chmod(0o666)
    assert f"chmod go-w {policy}" in file_warnings(policy)[0]


def test_secrets_that_came_through_pm2_are_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_STORE_KEY", KEY)
    monkeypatch.delenv("pm_id", raising=False)
    assert file_warnings(None) == []
    monkeypatch.setenv("pm_id", "0")
    (warning,) = file_warnings(None)
    assert "WHATSAPP_STORE_KEY came through pm2's environment" in warning
    assert KEY not in warning


def test_an_unknown_variable_is_warned_about_with_the_likeliest_name(
    bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare_environment / ".env").write_text("WHATSAPP_COMPLETELY_DIFFERENT=1\n")
    monkeypatch.setenv("WHATSAPP_GATE_RATES", "5")
    monkeypatch.setenv("WHATSAPP_GATE_BURST", "5")
    different, rates = unknown_variables()
    assert (
        rates
        == "WHATSAPP_GATE_RATES is not a setting and is ignored: did you mean WHATSAPP_GATE_RATE?"
    )
    assert different == "WHATSAPP_COMPLETELY_DIFFERENT is not a setting and is ignored."


def test_milliseconds_become_seconds_where_they_are_handed_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in [
        ("RECONNECTION_BASE_DELAY", "1500"),
        ("CONNECT_TIMEOUT", "250"),
        ("GATE_CONCURRENCY", "7"),
    ]:
        monkeypatch.setenv(f"WHATSAPP_{name}", value)
    loaded = load()
    config = loaded.session_config()
    assert (config.policy.base_seconds, config.policy.cap_seconds, config.policy.tail_seconds) == (
        1.5,
        300.0,
        900.0,
    )
    assert (config.connect_timeout_seconds, config.stable_after_seconds) == (0.25, 60.0)
    assert (config.breaker_threshold, config.breaker_timeout_seconds) == (5, 600.0)
    assert (config.health.interval_seconds, config.health.probe_timeout_seconds) == (30.0, 5.0)
    assert loaded.gate_config().concurrency == 7
    assert loaded.thresholds().response_time_ms == 5000.0
    assert loaded.worker_environment()["WASUP_CONNECT_TIMEOUT_MS"] == "250"


def test_reading_the_settings_writes_nothing(bare_environment: Path) -> None:
    root = Path(settings.__file__).resolve().parents[1]
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r}); from supervisor.settings import load;"
        " load()"
    )
    subprocess.run([sys.executable, "-B", "-c", code], check=True, cwd=bare_environment, timeout=30)
    assert list(bare_environment.iterdir()) == []


def test_the_hosts_thresholds_are_the_seeds_unless_they_are_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = load().thresholds().of_host(cores=2, sessions=10)
    assert (limits.cpu_fraction, limits.memory_fraction, limits.descriptors_fraction) == (
        0.9,
        0.8,
        0.9,
    )
    assert (limits.load, limits.websockets) == (4.0, 500)
    monkeypatch.setenv("WHATSAPP_DESCRIPTOR_THRESHOLD", "0.5")
    monkeypatch.setenv("WHATSAPP_LOAD_THRESHOLD", "2.5")
    monkeypatch.setenv("WHATSAPP_WEBSOCKET_THRESHOLD", "50")
    limits = load().thresholds().of_host(cores=16, sessions=1000)
    assert (limits.descriptors_fraction, limits.load, limits.websockets) == (0.5, 2.5, 50)


def test_the_ports_of_websockets_are_those_that_it_speaks_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load().web_socket_ports(4001) == {443, 4001, 8000}
    monkeypatch.setenv("WHATSAPP_WEB_SOCKET_URL", "ws://127.0.0.1:9000/{session}")
    assert load().web_socket_ports(5001) == {443, 5001, 8000, 9000}
