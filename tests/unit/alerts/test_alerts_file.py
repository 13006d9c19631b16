"""The file of alerts: what it accepts, in the seeds' words too, and what is said of what is wrong."""

import json
import os
import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from supervisor.alerts.channels.alerts_file import (
    LEVELS,
    NUMBERS,
    TABLES,
    BadAlertsFile,
    limits,
    open_to_others,
    parse,
    read_alerts_file,
)
from supervisor.alerts.channels.channel_settings import KINDS, SECRETS, WORDS
from supervisor.alerts.channels.live_alerts_file import differences, view
from supervisor.cli import cli
from supervisor.cli.alert_commands.channels import OVER_THE_FILE
from supervisor.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
SECRET = "hunter2hunter2"
SEEDS = """
[PERFORMANCE_THRESHOLDS]
cpu_warning = 70
cpu_critical = 85
memory_warning = 80
memory_critical = 90
disk_warning = 85
disk_critical = 95
response_time_warning = 2.0
response_time_critical = 5.0
error_rate_warning = 5
error_rate_critical = 10

[ALERT_CHANNELS.email]
enabled = true
recipients = ["admin@empresa.com", "ti@empresa.com"]
severity_levels = ["warning", "critical"]

[ALERT_CHANNELS.slack]
enabled = true
webhook_url = "https://hooks.slack.com/services/T1/B2/xyz"
channel = "#alerts-performance"

[ALERT_CHANNELS.sms]
enabled = false
provider = "twilio"
numbers = ["+5511999999999"]
"""


def test_what_the_seeds_say_is_accepted_as_it_stands() -> None:
    file = parse(SEEDS)
    assert list(file.channels) == ["slack", "email"], "the sooner it is read, the sooner it stands"
    assert file.thresholds == pytest.approx(
        {
            "cpu": 0.7,
            "cpu_critical": 0.85,
            "memory": 0.8,
            "memory_critical": 0.9,
            "disk": 0.85,
            "disk_critical": 0.95,
            "response_time_ms": 2000.0,
            "response_time_ms_critical": 5000.0,
            "error_rate": 0.05,
            "error_rate_critical": 0.1,
        }
    )
    slack, email = file.channels.values()
    assert slack.targets(file.smtp, None) == [
        {"token_a": "T1", "token_b": "B2", "token_c": "xyz", "targets": ["#alerts-performance"]}
    ]
    assert [one["targets"] for one in email.targets(file.smtp, None)] == [
        ["admin@empresa.com"],
        ["ti@empresa.com"],
    ]


WRONG = [
    ("nonsense = [", "It is not TOML"),
    ('profil = "x"', "profil = (hidden): there is no such key; did you mean profile?"),
    ('profile = "test"', 'profile = "test": it accepts "development", "staging" or "production".'),
    ('quiet_hours = "25:00"', 'quiet_hours = "25:00": it accepts hours such as 22:00-07:00'),
    ("repeat_hours = 0", "repeat_hours = 0: it accepts hours, above 0 and up to 720."),
    (f'heartbeat_url = "ftp://{SECRET}"', "heartbeat_url = (hidden): it accepts an http"),
    ("thresholds = 3", "thresholds = (hidden): it is a table: [thresholds]."),
    ("[thresholds]\ncpu_warning = 120", "[thresholds] cpu_warning = 120: it accepts percent"),
    ("[thresholds]\ncpu_warning = true", "[thresholds] cpu_warning = true: it accepts percent"),
    (
        "[thresholds]\ndisk_warning = 90\ndisk_critical = 80",
        "[thresholds] disk_critical = 80: it accepts disk_warning (90) or more.",
    ),
    (
        "[channels.mail]\nrecipients = ['a@b.c']",
        "[channels.mail] type is missing: it accepts email",
    ),
    ("[channels.mail]\ntype = 'fax'", '[channels.mail] type = "fax": it accepts email'),
    ("[channels.'a b']\ntype = 'email'", "a channel's name has letters"),
    ("[channels.email]", "[channels.email] recipients is missing: a list of 1 to 20 addresses"),
    ("[channels.email]\nrecipients = []", "[channels.email] recipients = []: it accepts a list"),
    ("[channels.email]\nrecipients = ['x']", "recipients = (hidden), the entry 1 of it: it"),
    (
        "[channels.email]\nrecipients = ['a@b.c', 'u:p@b.c']",
        "[channels.email] recipients = (hidden), the entry 2 of it: it accepts a list of",
    ),
    (
        "[channels.email]\nrecipients = ['a@b.c']\nseverity_levels = ['info']",
        '[channels.email] severity_levels = ["info"]: it accepts a list of',
    ),
    (
        f"[channels.slack]\nwebhook_url = 'https://evil.example/{SECRET}'",
        "[channels.slack] webhook_url = (hidden): it accepts an incoming webhook",
    ),
    (
        "[channels.sms]\nnumbers = ['+5511999999999']",
        "[channels.sms]: it needs the table [twilio]",
    ),
    ("[channels.telegram]\nchats = [1]\nbot_token = 'x'", "bot_token = (hidden): it accepts"),
    (
        "[channels.telegram]\nchats = [1]\nbot_token_file = '/nowhere'",
        "[channels.telegram] bot_token_file = (hidden): the file of that path cannot be read: No",
    ),
    (
        "[channels.telegram]\nchats = [1]\nbot_token_env = 'NOBODY_SET_IT'",
        "[channels.telegram] bot_token_env = (hidden): it accepts the name of an environment",
    ),
    (
        f"[channels.webhook]\nurl = 'http://u:{SECRET}@x/'",
        "[channels.webhook] url = (hidden): it accepts",
    ),
    ("[channels.whatsapp]\nsession = 'a b'\nto = '5511987654321'", 'session = "a b": it accepts'),
    ("[channels.whatsapp]\nsession = 'shop'\nto = 'me'", "to = (hidden): it accepts whom"),
    ("[smtp]\nuser = 'u'", "[smtp]: user and password go together"),
    (
        "[channels.webhook]\nurl = 'https://example.com/'\nuser = 'u'",
        "[channels.webhook]: user and password go together",
    ),
    ("[smtp]\nport = 0", "[smtp] port = 0: it accepts a port"),
    ("[smtp]\nport = '587'", "[smtp] port = (a text): it accepts a port"),
    ("[smtp]\nhost = 'smtp://mail.example.com'", "[smtp] host = (hidden): it accepts a name or"),
    ("[smtp]\nhost = 'mail.example.com:587'", "[smtp] host = (hidden): it accepts a name or"),
    ('"a\\u001b\\nb" = 1', "a\\x1b\\nb = (hidden): there is no such key"),
    ('[channels."a\\u001b\\nb"]', "[channels.a\\x1b\\nb]: a channel's name has letters"),
    ('profile = "a\\nb"', 'profile = "a\\nb": it accepts'),
    ("[channels.email]\n[ALERT_CHANNELS.email]", "[ALERT_CHANNELS]: channels is the same table"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_what_is_wrong_is_told_with_its_key_and_what_is_accepted(text: str, words: str) -> None:
    with pytest.raises(BadAlertsFile) as raised:
        parse(text)
    assert words in str(raised.value)
    assert SECRET not in str(raised.value)


HARMLESS = WORDS | NUMBERS
PLACES = {"": TABLES[0], "thresholds": TABLES[1], "smtp": TABLES[2], "twilio": TABLES[3]} | {
    f"channels.{kind}": table for kind, table in KINDS.items()
}
KEYS = st.one_of(
    st.sampled_from(
        sorted(
            {key for table in PLACES.values() for key in table.model_fields}
            | {f"{key}{end}" for key in SECRETS for end in ("_file", "_env")}
            | {"webhook", "pwd", "auth", "heartbeat", "bot", "slack", "chat", "passwd"}
        )
    ),
    st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
).filter(lambda key: key not in HARMLESS)
SAID = st.one_of(
    st.text(string.ascii_letters + string.digits, min_size=12, max_size=40),
    st.from_regex(r"https://[a-z]{4,9}:[A-Za-z0-9]{8,20}@[a-z]{3,9}\.example", fullmatch=True),
    st.from_regex(r"[0-9]{6,9}:AA[A-Za-z0-9_-]{33}", fullmatch=True),
    st.from_regex(r"[a-z]{6,9} [a-z]{6,9}", fullmatch=True),
)


def _texts(value: object) -> list[str]:
    """Each text of a value, and each of its parts of six characters or more."""
    match value:
        case str():
            return [value, *(part for part in re.split(r"[^A-Za-z0-9]+", value) if len(part) >= 6)]
        case dict():
            return [text for one in value.values() for text in _texts(one)]
        case list():
            return [text for one in value for text in _texts(one)]
        case _:
            return []


def _toml(value: object) -> str:
    """Texts and lists of texts are written as in JSON."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)


@given(
    st.sampled_from(sorted(PLACES)),
    st.dictionaries(
        KEYS,
        st.one_of(SAID, st.lists(SAID, max_size=3), st.dictionaries(KEYS, SAID, max_size=2)),
        min_size=1,
        max_size=4,
    ),
)
@example("channels.slack", {"webhook": f"https://hooks.slack.com/services/T0/B0/{SECRET}"})
@example("channels", {"slack": f"https://hooks.slack.com/services/T0/B0/{SECRET}"})
@example("smtp", {"pwd": SECRET, "auth": SECRET, "password_env": SECRET})
@example("", {"heartbeat": f"https://hc-ping.com/{SECRET}", "heartbeat_url_file": SECRET})
@example("channels.telegram", {"bot": f"123456:AA{SECRET}", "chats": [f"123456:AA{SECRET}"]})
@example("twilio", {"account_sid": SECRET, "auth_token": SECRET, "sender": SECRET})
@example("channels.email", {"recipients": [f"smtp://ops:{SECRET}@mail.example.com"]})
def test_what_may_be_a_secret_stands_in_no_error(place: str, table: dict[str, Any]) -> None:
    """Whatever it was given as: under a misspelt key, in the wrong table, as a file's name."""
    lines = [f"[{place}]"] if place else []
    try:
        parse("\n".join([*lines, *(f"{key} = {_toml(value)}" for key, value in table.items())]))
    except BadAlertsFile as error:
        told = re.sub(r"(?:it accepts|It accepts|is missing:|it is a table:).*", "", str(error))
        keys = " ".join((*KINDS, *table))
        assert [
            text for text in _texts(table) if len(text) >= 6 and text in told and text not in keys
        ] == []


def test_a_token_in_the_place_of_a_word_or_a_name_is_hidden() -> None:
    token = "123456789:AAExampleExampleExampleExampleExample"
    for text in (
        f'profile = "{token}"',
        f'[channels.slack]\nchannel = "https://hooks.slack.com/services/{SECRET}"',
        f'"https://hc-ping.com/{SECRET}" = 1',
        f'[channels."https://hc-ping.com/{SECRET}"]',
        f'a = {{"https://hc-ping.com/{SECRET}" = 1, "https://hc-ping.com/{SECRET}" = 1}}',
        f'profile = "{"x" * 500}{SECRET}"',
    ):
        with pytest.raises(BadAlertsFile) as raised:
            parse(text)
        assert SECRET not in str(raised.value)
        assert token not in str(raised.value)


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(BadAlertsFile, match="cannot be read: it is no regular file"):
            read_alerts_file(path)
        with pytest.raises(BadAlertsFile, match="cannot be read: it is no regular file"):
            parse(f"heartbeat_url_file = '{path}'")


def test_a_limit_that_may_be_meant_otherwise_is_doubted() -> None:
    assert parse("[thresholds]\ncpu_warning = 0.8\ndisk_warning = 96").doubts == (
        "[thresholds] cpu_warning = 0.8 is 0.8 %: if 80 % is meant, write 80",
        "[thresholds] disk_warning = 96 is not below the critical limit of 95 percent, which does"
        " not count then: say disk_critical too",
    )
    by_profile = 'profile = "production"\n[thresholds]\nresponse_time_warning = 6'
    assert parse(by_profile).doubts == (
        "[thresholds] response_time_warning = 6 is not below the critical limit of 5 seconds, which"
        " does not count then: say response_time_critical too",
    )
    assert parse("[thresholds]\nresponse_time_warning = 0.5\ndown_seconds = 0.5").doubts == ()
    assert parse("[thresholds]\ndisk_warning = 96\ndisk_critical = 98").doubts == ()
    assert parse(SEEDS).doubts == ()


def test_the_check_of_a_file_says_its_doubts(tmp_path: Path) -> None:
    path = tmp_path / "alerts.toml"
    path.write_text("[thresholds]\ncpu_warning = 0.8\n")
    done = CliRunner().invoke(cli.app, ["alerts", "check", "--file", str(path)])
    assert (done.exit_code, "if 80 % is meant, write 80" in done.output) == (0, True)
    done = CliRunner().invoke(cli.app, ["alerts", "check", "--json", "--file", str(path)])
    assert "if 80 % is meant, write 80" in json.loads(done.output)["warnings"][-1]


def test_all_that_is_wrong_is_told_at_once_and_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "alerts.toml"
    path.write_text("repeat_hours = 0\n[channels.email]\nrecipients = []\n[smtp]\nport = 0\n")
    with pytest.raises(BadAlertsFile) as raised:
        read_alerts_file(path)
    lines = str(raised.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{path}: ") for line in lines)
    with pytest.raises(BadAlertsFile, match="cannot be read: No such file"):
        read_alerts_file(tmp_path / "nowhere.toml")
    assert read_alerts_file(None).channels == {}


def test_secrets_come_from_files_and_the_environment_and_are_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "12345:" + SECRET * 3
    (tmp_path / "token").write_text(token + "\n")
    monkeypatch.setenv("MAIL_PASSWORD", SECRET)
    path = tmp_path / "alerts.toml"
    path.write_text(
        '[channels.telegram]\nbot_token_file = "token"\nchats = [7]\n'
        '[smtp]\nuser = "u"\npassword_env = "MAIL_PASSWORD"\n'
        '[channels.email]\nrecipients = ["ops@example.com"]\n'
    )
    path.chmod(0o600)
    file = read_alerts_file(path)
    telegram = file.channels["telegram"]
    assert telegram.targets(file.smtp, None) == [{"bot_token": token, "targets": ["7"]}]
    assert file.channels["email"].targets(file.smtp, None)[0]["password"] == SECRET
    assert SECRET in set(file.smtp.secrets())
    assert token in set(telegram.secrets())
    assert SECRET not in f"{file!r}{view(file, 'en')!r}"


def test_a_file_that_others_can_read_is_warned_about(tmp_path: Path) -> None:
    path = tmp_path / "alerts.toml"
    path.write_text("")
    path.chmod(0o600)
    assert open_to_others(path) == []
    path.chmod(0o644)
    assert open_to_others(path) == [
        f"{path} has secrets and can be read by others: chmod 600 {path}"
    ]
    assert open_to_others(tmp_path / "nowhere") == open_to_others(None) == []


def test_what_a_channel_that_is_off_lacks_is_no_fault() -> None:
    assert parse("[channels.telegram]\nenabled = false").channels == {}
    with pytest.raises(BadAlertsFile, match="there is no such key"):
        parse("[channels.telegram]\nenabled = false\nchat = 1")


def test_an_explicit_setting_counts_more_than_the_file() -> None:
    file = parse('quiet_hours = "22:00-07:00"\nrepeat_hours = 1\nlanguage = "pt-BR"')
    by_file = Settings(_env_file=None).alerting_config(file)
    assert (by_file.timing.repeat, by_file.language) == (3600.0, "pt-BR")
    assert by_file.quiet is not None
    explicit = Settings(
        _env_file=None, alert_quiet_hours="12:00-13:00", alert_repeat_hours=8, language="en"
    ).alerting_config(file)
    assert (explicit.timing.repeat, explicit.language) == (8 * 3600.0, "en")
    assert explicit.quiet != by_file.quiet


def test_a_channel_is_shown_in_the_language_that_it_tells_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "alerts.toml"
    path.write_text('language = "pt-BR"\n[channels.webhook]\nurl = "https://example.com/"\n')

    def shown() -> str:
        done = CliRunner().invoke(cli.app, ["alerts", "check", "--json", "--file", str(path)])
        return str(json.loads(done.output)["channels"][0]["language"])

    assert shown() == "pt-BR"
    monkeypatch.setenv("WHATSAPP_LANGUAGE", "en")
    assert shown() == "en", "a setting that is said counts more than the file"


def test_what_differs_is_said_without_a_secret() -> None:
    before = parse(SEEDS)
    after = parse(SEEDS.replace("xyz", SECRET).replace("cpu_warning = 70", "cpu_warning = 71"))
    after_mail = parse(
        'language = "pt-BR"\n[smtp]\nhost = "mail"\n[channels.discord]\nenabled=false'
    )
    assert differences(before, before) == []
    assert differences(before, after) == [
        "The channel slack is changed.",
        "Profile and thresholds are changed: they count from the next start on.",
    ]
    assert differences(before, after_mail) == [
        "The channel email is no more.",
        "The channel slack is no more.",
        "[smtp] is changed.",
        "language: unset -> pt-BR",
        "Profile and thresholds are changed: they count from the next start on.",
    ]


PAGES = [ROOT / "docs" / "alert-channels.md", ROOT / "docs" / "pt-BR" / "alertas.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_of_the_pages_can_be_copied(page: Path) -> None:
    examples = re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    shown = {type(table) for one in examples for table in parse(one).channels.values()}
    assert shown == set(KINDS.values()), "each kind has its example"


def test_every_key_is_in_the_table_of_the_page() -> None:
    page = PAGES[0].read_text().partition("## The whole file")[2]
    keys = {key for kind in (*KINDS.values(), *TABLES) for key in kind.model_fields}
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []


def test_a_password_is_sent_in_the_clear_only_if_somebody_says_so() -> None:
    def mode(*lines: str) -> str:
        return parse("\n".join(("[smtp]", *lines))).smtp.mode

    assert mode() == mode("host = '127.0.0.1'") == "insecure"
    assert mode("host = 'smtp.example.com'") == "starttls"
    assert mode("host = 'smtp.example.com'", "tls = 'none'") == "insecure"
    assert mode("host = 'smtp.example.com'", "tls = 'ssl'") == "ssl"


def test_the_command_knows_every_setting_that_counts_more_than_the_file() -> None:
    assert set(OVER_THE_FILE.values()) <= set(Settings.model_fields)
    keys = limits({f"{name}_{level}": 1.0 for name in LEVELS for level in ("warning", "critical")})
    assert set(keys) | {"load", "descriptors", "down_seconds"} <= set(OVER_THE_FILE)
