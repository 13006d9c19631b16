"""Alerts by the real supervisor: a mail, a webhook, and a WhatsApp text by one of its own sessions
to the stand-in's phone, while another channel is dead.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scripts.lab import StandIn, eventually, pair
from tests.conftest import StartSupervisor
from tests.integration.alerts.receivers import dead_port, mail_server, web_server
from tests.lab_tools import must, wasup

pytestmark = pytest.mark.asyncio(loop_scope="session")

OPERATOR = "5511988887777"


async def test_mail_webhook_and_whatsapp_are_told_and_the_commands_say_how_it_stands(
    start_supervisor: StartSupervisor, standin: StandIn, tmp_path: Path
) -> None:
    async with mail_server() as box, web_server() as inbox:
        with dead_port() as port:
            file = tmp_path / "alerts.toml"
            file.write_text(
                f"""
                [smtp]
                host = "127.0.0.1"
                port = {box.port}
                [channels.email]
                recipients = ["ops@example.com"]
                [channels.hook]
                type = "webhook"
                url = "{inbox.url}/alerts"
                [channels.dead]
                type = "webhook"
                url = "http://127.0.0.1:{port}/"
                [channels.whatsapp]
                session = "teller"
                to = "{OPERATOR}"
                language = "pt-BR"
                """
            )
            file.chmod(0o600)
            supervisor = await start_supervisor(alerts_file=file)
            said = await must(supervisor, "alerts", "check")
            assert f"whatsapp (whatsapp) tells {OPERATOR} by session teller" in said

            done = await wasup(supervisor, "alerts", "test", "whatsapp")
            assert done.status == 1
            assert "NOT delivered: there is no session teller" in done.said
            await pair(supervisor, standin, "teller")
            await must(supervisor, "alerts", "test", "whatsapp")
            assert [m["text"] for m in await standin.messages("teller")] == [
                "*[wasup] Este é um teste do canal whatsapp. Está tudo bem.*"
            ]

            await pair(supervisor, standin, "lost")
            await standin.call("POST", "/unlink", {"session": "lost"})
            await supervisor.wait_state("lost", "parked")

            async def told() -> list[dict[str, Any]]:
                sent = await standin.messages("teller")
                return [m for m in sent if "lost" in m["text"]]

            (text,) = await eventually(told)
            assert text["to"] == f"{OPERATOR}@s.whatsapp.net"
            assert text["text"].startswith("*[crítico]")
            await eventually(lambda: _later(box.mails))
            assert box.mails[0][1]["Subject"].startswith("[critical] Session lost")
            await eventually(lambda: _later(inbox.posts))
            assert inbox.posts[-1][1]["new"][0]["session"] == "lost"

            listed = json.loads(await must(supervisor, "alerts", "channels", "--json"))
            channels = {one["name"]: one for one in listed["channels"]}
            assert channels["dead"]["lastSuccessAt"] is None
            assert channels["whatsapp"]["lastSuccessAt"] is not None

            file.write_text("repeat_hours = 0")
            done = await wasup(supervisor, "alerts", "reload")
            assert done.status == 1
            assert "repeat_hours = 0: it accepts hours" in done.said
            file.write_text(f"[channels.hook]\ntype = 'webhook'\nurl = '{inbox.url}/alerts'\n")
            said = await must(supervisor, "alerts", "reload")
            assert "The channel email is no more." in said
            await eventually(partial(supervisor.events, "alert.channels_changed"))


async def _later(found: Any) -> Any:
    return found
