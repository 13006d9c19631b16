"""`wasup sessions ...`: which verb is in which file."""

from typing import Final

from supervisor.cli.common.groups import LazyGroup, Verb, group

HERE: Final = "session_commands"


class SessionVerbs(LazyGroup):
    """The verbs of one session, in the order in which an operator needs them."""

    verbs = {  # noqa: RUF012 - the base class declares it as one of the class
        "create": Verb(f"{HERE}.creating", "create", "Add a session"),
        "list": Verb(f"{HERE}.looking", "list_sessions", "Show all sessions"),
        "show": Verb(f"{HERE}.looking", "show_session", "Show one session"),
        "qr": Verb(f"{HERE}.pairing", "show_qr", "Show the QR to scan"),
        "pair": Verb(f"{HERE}.pairing", "pair", "Show a code to type on the phone"),
        "send": Verb(f"{HERE}.sending", "send", "Send a text"),
        "start": Verb(f"{HERE}.running", "start", "Start sessions"),
        "stop": Verb(f"{HERE}.running", "stop", "Stop sessions"),
        "reconnect": Verb(f"{HERE}.running", "reconnect", "Cut a wait short"),
        "logout": Verb(f"{HERE}.ending", "logout", "Unlink the device at WhatsApp"),
        "delete": Verb(f"{HERE}.ending", "delete", "Remove a session"),
        "proxy": Verb(f"{HERE}.proxy", "app", "Show, set or clear a session's proxy"),
        "import": Verb(f"{HERE}.credentials", "import_sessions", "Take over Baileys folders"),
        "export": Verb(f"{HERE}.credentials", "export_session", "Write a Baileys folder"),
        "archives": Verb(f"{HERE}.credentials", "archives", "Show archived credentials"),
        "restore": Verb(f"{HERE}.credentials", "restore", "Put archived credentials back"),
    }


app = group(SessionVerbs, "Sessions: pair them, look at them, start and stop them.")
