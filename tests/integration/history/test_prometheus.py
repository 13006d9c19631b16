"""A real Prometheus scrapes the API with a key, and finds every figure of the board."""

import asyncio
import json
import shutil
from asyncio.subprocess import DEVNULL
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from scripts.lab.processes import eventually
from supervisor.access.key import new_id, new_key
from supervisor.access.scopes import Scope
from supervisor.history.outward.exposition import CONTENT_TYPE, Exposition
from supervisor.history.outward.requests import Requests, Served
from supervisor.history.recent import Recent
from supervisor.history.series import SERIES, Key, buckets_of
from tests.api_tools import TOKEN, api, ask, known_key

PROMETHEUS = shutil.which("prometheus")
BOARD = Path(__file__).resolve().parents[3] / "docs" / "grafana.json"
KEY, NARROW = new_key(new_id()), new_key(new_id())
KNOWN = [
    known_key(KEY, Scope.READ),
    known_key(NARROW, Scope.READ, frozenset({"one"})),
]


class Measured:
    """As much of a history as is asked: something of each series."""

    def __init__(self) -> None:
        requests = Requests(None, str)
        requests.served(Served("GET", "/sessions", ("me", "me"), 200, 0.002, False, None, None))
        figures: dict[Key, float] = requests.figures()
        for series in SERIES.values():
            subject = None if series.subject == "none" else "one"
            figures |= (
                buckets_of(series.name, subject, {7: 5})
                if series.kind == "buckets"
                else {(series.name, subject): 1.0}
            )
        recent = Recent()
        recent.take(figures, 1)
        self.totals = lambda: recent.totals


def exposition() -> Exposition:
    return Exposition(Measured(), 100)  # type: ignore[arg-type]


async def test_a_key_that_reads_is_told_all_and_one_of_some_sessions_those() -> None:
    async with api(token=TOKEN, known_keys=KNOWN, exposition=exposition()) as address:
        whole = await ask(address, "GET", "/metrics", Authorization=f"Bearer {KEY}")
        narrow = await ask(address, "GET", "/metrics", Authorization=f"Bearer {NARROW}")
        nobody = await ask(address, "GET", "/metrics")
    assert (whole.status, whole.headers["content-type"]) == (200, CONTENT_TYPE)
    assert b"wasup_host_cpu_ratio 1.0" in whole.body
    told = {line.partition(b"{")[0] for line in narrow.body.splitlines() if line[:1] != b"#"}
    assert b"wasup_session_messages_total" in told
    assert all(name.startswith(b"wasup_session_") for name in told)
    assert nobody.status == 401


@pytest.mark.skipif(
    PROMETHEUS is None, reason="prometheus is not installed (apt install prometheus)"
)
async def test_prometheus_scrapes_it_and_every_panel_of_the_board_has_something_to_show(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    (tmp_path / "key").write_text(KEY)
    async with api(token=TOKEN, known_keys=KNOWN, exposition=exposition()) as (host, port):
        scraped = {
            "job_name": "wasup",
            "scrape_interval": "1s",
            "authorization": {"credentials_file": str(tmp_path / "key")},
            "static_configs": [{"targets": [f"{host}:{port}"]}],
        }
        (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scraped]}))
        process = await asyncio.create_subprocess_exec(
            str(PROMETHEUS),
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{unused_tcp_port}",
            stdout=DEVNULL,
            stderr=DEVNULL,
        )
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{unused_tcp_port}") as client:

                async def asked(expression: str) -> Any:
                    try:
                        async with client.get(
                            "/api/v1/query", params={"query": expression}
                        ) as answer:
                            return await answer.json()
                    except aiohttp.ClientError:  # it is not up yet
                        return None

                # rates want two scrapes
                count = 'count_over_time(wasup_fleet_sessions{job="wasup"}[1h]) >= 2'
                await eventually(
                    lambda: asked(count), lambda told: bool(told and told["data"]["result"])
                )
                board = json.loads(BOARD.read_text())
                for panel in board["panels"]:
                    for target in panel["targets"]:
                        told = await asked(target["expr"].replace("$job", "wasup"))
                        assert told["status"] == "success", target["expr"]
                        assert told["data"]["result"], target["expr"]
        finally:
            process.kill()
            await process.wait()
