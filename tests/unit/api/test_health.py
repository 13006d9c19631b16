"""What /readyz tells whoever asks, without a token."""

from api.handlers.watching.health import shown
from sessions.forever import TaskHealth


def test_webhooks_and_channels_are_told_as_one_each_and_as_the_worst_of_them() -> None:
    tasks = [
        TaskHealth("gate"),
        TaskHealth("webhook wh_1"),
        TaskHealth("webhook wh_2", "failing"),
        TaskHealth("webhook wh_3"),
        TaskHealth("alerts to the boss", "failing"),
        TaskHealth("alerts to mail"),
    ]
    assert shown(tasks) == {"gate": "ok", "webhooks": "failing", "alert channels": "failing"}
