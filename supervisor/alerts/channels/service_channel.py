"""A channel by one of the services that the helper process sends to."""

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import structlog

from supervisor.alerts.channels.helper import Helper
from supervisor.alerts.channels.wire import Service
from supervisor.alerts.notices import Language, Notice
from supervisor.alerts.rules import rule_of
from supervisor.alerts.words.rendering import Text, render

ATTACHING: Final[frozenset[Service]] = frozenset({"email", "telegram", "discord"})
"""Services that take a file with a message."""
ALERTS_MOST: Final = 50
"""Of each kind, in what a program is told; a person is told of fewer."""

log = structlog.get_logger("alerts")


class ServiceChannel:
    """Sends by a service, in a language."""

    def __init__(
        self,
        name: str,
        service: Service,
        targets: Sequence[dict[str, Any]],
        secrets: Sequence[str],
        helper: Helper,
        language: Language = "en",
        zone: tzinfo | None = None,
    ) -> None:
        self._name = name
        self._service: Service = service
        self._targets = targets
        self._secrets = secrets
        self._helper = helper
        self._language: Language = language
        self._zone = zone

    @property
    def name(self) -> str:
        """By which it is known."""
        return self._name

    async def send(self, notice: Notice) -> None:
        """Send it. Raises NotDelivered."""
        text = render(notice, self._language, self._zone)
        severity = "over" if notice.is_over else notice.severity
        await self.send_text(text, severity, _for_programs(notice))

    @property
    def language(self) -> Language:
        """In which it tells."""
        return self._language

    async def send_file(self, text: Text, file: Path) -> None:
        """Send these words, and the file with them where the service takes one.

        Raises NotDelivered.
        """
        await self.send_text(text, "over", attach=file if self._service in ATTACHING else None)

    async def send_text(
        self,
        text: Text,
        severity: Literal["warning", "critical", "over"] = "warning",
        extras: Mapping[str, Any] | None = None,
        attach: Path | None = None,
    ) -> None:
        """Send these words. Raises NotDelivered; who of several was not reached is in the log."""
        title, body = text.subject, text.body.removeprefix(text.subject).strip() or text.subject
        if self._service == "sms":  # each part of it costs
            title, body = "", text.subject
        problems = await self._helper.send(
            self._service,
            self._targets,
            title,
            body,
            severity=severity,
            extras=dict(extras or {}),
            secrets=self._secrets,
            attach=attach,
        )
        for problem in problems:
            log.warning(
                f"{self._name} has not reached everybody: {problem}",
                action="notice_partial",
                channel=self._name,
                error=problem,
            )


def _for_programs(notice: Notice) -> dict[str, Any]:
    """The notice for whoever reads it by a program: a webhook's further fields."""
    parts = {"new": notice.new, "goesOn": notice.goes_on}
    parts |= {"ended": notice.ended, "passed": notice.passed}
    return {
        "group": notice.group,
        "severity": notice.severity,
        "over": notice.is_over,
        "repeated": notice.repeated,
        **{
            key: [
                {**msgspec.to_builtins(alert), "runbook": rule_of(alert).runbook}
                for alert in alerts[:ALERTS_MOST]
            ]
            for key, alerts in parts.items()
        },
    }
