"""An upgrade from 0.1.0: the new supervisor takes over its database and its living workers, and
WhatsApp notices nothing.
"""

import os
import shutil
import subprocess
import tarfile
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from scripts.lab import StandIn, Supervisor, eventually
from scripts.lab.processes import ROOT
from tests.conftest import environment
from tests.lab_tools import hears, says, texts

pytestmark = pytest.mark.asyncio(loop_scope="session")

OF_0_1_0 = "9d20151f34eba1db08665eae55a05eda4a13a9ff"
"""The last commit of that version."""
NAMES = ("upgraded-1", "upgraded-2")
WORKER_PACKAGES = "sessions/worker/node_modules"
"""They are the same in both versions, and so are Python's as far as 0.1.0 needs them."""


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of 0.1.0, out of the repository's history."""
    command = ["git", "-C", str(ROOT), "archive", OF_0_1_0]
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the history is not here: 0.1.0 cannot be taken out of it")
    folder = tmp_path_factory.mktemp("0.1.0")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    shutil.copytree(
        ROOT / WORKER_PACKAGES, folder / WORKER_PACKAGES, copy_function=_linked, symlinks=True
    )
    return folder


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


async def call(http: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
    """A call of the older API, which is not described as today's is."""
    async with http.request(method, path, json=body) as response:
        assert response.status < 400, await response.text()
        return await response.json()


async def state(http: aiohttp.ClientSession, session: str) -> str:
    return str((await call(http, "GET", f"/sessions/{session}"))["state"])


async def workers(http: aiohttp.ClientSession) -> dict[str, int]:
    shown = [await call(http, "GET", f"/sessions/{name}") for name in NAMES]
    return {one["id"]: one["performance"]["workerPid"] for one in shown}


async def paired_with_the_older(api: str, standin: StandIn) -> tuple[dict[str, int], int]:
    """Pair the sessions; their workers, and the number of the newest event."""
    async with aiohttp.ClientSession(api) as http:
        for name in NAMES:
            await call(http, "POST", "/sessions", {"id": name})
            await eventually(partial(state, http, name), "qr".__eq__, what=f"the QR of {name}")
            await standin.scan((await call(http, "GET", f"/sessions/{name}/qr"))["qr"])
            await eventually(partial(state, http, name), "open".__eq__, what=f"{name} being open")
            standin.paired.append(name)
        return await workers(http), int((await call(http, "GET", "/events?limit=0"))["last"])


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_the_supervisor_takes_over_database_and_living_workers_of_0_1_0(
    end: str, older: Path, standin: StandIn, lab_directory: Path
) -> None:
    settings = standin.environment() | environment({"shutdown": "detach"})
    supervisor = Supervisor(lab_directory / f"of-0.1.0-{end}", settings, root=older)
    try:
        await supervisor.start()
        before, supervisor.since = await paired_with_the_older(supervisor.api, standin)
        logged = await standin.last_entry()
        if end == "stop":
            assert await supervisor.stop() == 0
        else:
            await supervisor.kill()
        for name in NAMES:
            await standin.send_text(name, "5511999990000", f"to {name} meanwhile")

        supervisor.root = ROOT
        await supervisor.start()
        for name in NAMES:
            await supervisor.wait_state(name, "open")
            told = partial(texts, supervisor, name)
            await eventually(told, [f"to {name} meanwhile"].__eq__, what="what came meanwhile")
            await hears(supervisor, standin, name, "oi")
            await says(supervisor, standin, name, "olá")
        assert await supervisor.workers() == before, "adopted, not replaced"
        assert await standin.log("login", "logout", after=logged) == []

        # The older workers also obey: one logs in anew, and both end when they are told to.
        await supervisor.must("POST", f"/force-reconnection/{NAMES[0]}")
        again = partial(standin.log, "login", session=NAMES[0], after=logged)
        await eventually(again, what="the new login")
        await supervisor.wait_state(NAMES[0], "open")
        await hears(supervisor, standin, NAMES[0], "de novo")
        for name in NAMES:
            await supervisor.must("POST", f"/sessions/{name}/stop")
        assert [one["by"] for one in await standin.log("logout", after=logged)][-2:] == [
            "client",
            "client",
        ]
        assert await supervisor.stop() == 0
    finally:
        await supervisor.close()
