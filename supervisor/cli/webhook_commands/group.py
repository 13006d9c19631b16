"""`wasup webhooks ...`: which verb is in which file."""

from typing import Final

from supervisor.cli.common.groups import LazyGroup, Verb, group

HERE: Final = "webhook_commands"


class WebhookVerbs(LazyGroup):
    """The verbs, in the order in which an operator needs them."""

    verbs = {  # noqa: RUF012 - the base class declares it as one of the class
        "create": Verb(f"{HERE}.changing", "create", "Send what happens to a URL"),
        "list": Verb(f"{HERE}.looking", "list_webhooks", "Show all webhooks"),
        "show": Verb(f"{HERE}.looking", "show_webhook", "Show one webhook"),
        "test": Verb(f"{HERE}.sending", "send_test", "Send a test event now"),
        "deliveries": Verb(f"{HERE}.looking", "deliveries", "Show what was not accepted"),
        "update": Verb(f"{HERE}.changing", "update", "Change a webhook"),
        "pause": Verb(f"{HERE}.changing", "pause", "Keep what happens, send nothing"),
        "resume": Verb(f"{HERE}.changing", "resume", "Send again, at once"),
        "redrive": Verb(f"{HERE}.sending", "redrive", "Send again what was set aside"),
        "replay": Verb(f"{HERE}.sending", "replay", "Send again all after an event"),
        "rotate-secret": Verb(f"{HERE}.changing", "rotate_secret", "Sign with another secret"),
        "delete": Verb(f"{HERE}.changing", "delete", "Remove a webhook"),
    }


app = group(WebhookVerbs, "Webhooks: who is sent what happens, and what has not arrived.")
