"""`wasup alerts ...`: which verb is in which file."""

from typing import Final

from supervisor.cli.common.groups import LazyGroup, Verb, group

HERE: Final = "alert_commands"


class AlertVerbs(LazyGroup):
    """The verbs."""

    verbs = {  # noqa: RUF012 - the base class declares it as one of the class
        "list": Verb(f"{HERE}.alerts", "list_alerts", "Show what is wrong, and what to do"),
        "ack": Verb(f"{HERE}.alerts", "acknowledge", "Say that you care: no reminders"),
        "silence": Verb(f"{HERE}.alerts", "silence", "Tell nobody for a while"),
        "silences": Verb(f"{HERE}.alerts", "silences", "Show what is silenced"),
        "unsilence": Verb(f"{HERE}.alerts", "unsilence", "End a silence"),
        "channels": Verb(f"{HERE}.channels", "channels", "Show who is told, and whether it works"),
        "check": Verb(f"{HERE}.channels", "check", "Say who would be told what by a file"),
        "test": Verb(f"{HERE}.channels", "send_test", "Send a test by each channel"),
        "reload": Verb(f"{HERE}.channels", "reload", "Have the supervisor read its file again"),
    }


app = group(AlertVerbs, "Alerts: what is wrong, and who is told of it (docs/alerts.md).")
