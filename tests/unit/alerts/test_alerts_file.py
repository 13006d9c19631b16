"""The file of alerts: what it accepts, in the seeds' words too, and what is said of what is wrong."""

import re
from pathlib import Path

import pytest

from supervisor.alerts.channels.alerts_file import (
    LEVELS,
    TABLES,
    BadAlertsFile,
    limits,
    open_to_others,
    parse,
    read_alerts_file,
)
from supervisor.alerts.channels.channel_settings import KINDS
from supervisor.alerts.channels.live_alerts_file import differences, view
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
    ('profil = "x"', 'profil = "x": there is no such key; did you mean profile?'),
    ('profile = "test"', 'it accepts "development", "staging" or "production".'),
    ('quiet_hours = "25:00"', 'quiet_hours = "25:00": it accepts hours such as 22:00-07:00'),
    ("repeat_hours = 0", "repeat_hours = 0: it accepts hours, above 0 and up to 720."),
    (f'heartbeat_url = "ftp://{SECRET}"', "heartbeat_url = (hidden): it accepts an http"),
    ("thresholds = 3", "thresholds = 3: it is a table: [thresholds]."),
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
    ("[channels.email]\nrecipients = ['x']", "[channels.email] recipients = ['x']: it accepts"),
    (
        "[channels.email]\nrecipients = ['a@b.c']\nseverity_levels = ['info']",
        "[channels.email] severity_levels = ['info']: it accepts a list of",
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
        '[channels.telegram] bot_token_file = "/nowhere": it cannot be read: No such file',
    ),
    (
        "[channels.telegram]\nchats = [1]\nbot_token_env = 'NOBODY_SET_IT'",
        '[channels.telegram] bot_token_env = "NOBODY_SET_IT": it accepts the name of an env',
    ),
    (
        f"[channels.webhook]\nurl = 'http://u:{SECRET}@x/'",
        "[channels.webhook] url = (hidden): it accepts",
    ),
    ("[channels.whatsapp]\nsession = 'a b'\nto = '5511987654321'", 'session = "a b": it accepts'),
    ("[channels.whatsapp]\nsession = 'shop'\nto = 'me'", 'to = "me": it accepts whom'),
    ("[smtp]\nuser = 'u'", "[smtp]: user and password go together"),
    ("[smtp]\nport = 0", "[smtp] port = 0: it accepts a port"),
    ("[channels.email]\n[ALERT_CHANNELS.email]", "[ALERT_CHANNELS]: channels is the same table"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_what_is_wrong_is_told_with_its_key_and_what_is_accepted(text: str, words: str) -> None:
    with pytest.raises(BadAlertsFile) as raised:
        parse(text)
    assert words in str(raised.value)
    assert SECRET not in str(raised.value)


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
    assert SECRET not in f"{file!r}{view(file)!r}"


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
