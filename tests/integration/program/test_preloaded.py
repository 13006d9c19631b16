"""What is forked from the preloaded program is what a new Python would be, so that tests may ask
the one about the other.
"""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from scripts.lab.processes import ROOT, eventually
from scripts.lab.supervisor import PRELOADED

HOME = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "America/Sao_Paulo"}


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["--version"], {}),
        (["sessions", "--help"], {"COLUMNS": "60"}),
        (["sessions", "lst"], {}),
        (["status"], {"WHATSAPP_API_PORT": "1"}),
        (["status", "--json"], {"WHATSAPP_API_PORT": "1"}),
        ([], {"WHATSAPP_API_PORT": "notaport"}),
    ],
    ids=str,
)
async def test_a_command_says_the_same_and_ends_with_the_same_status(
    arguments: list[str], settings: dict[str, str], tmp_path: Path
) -> None:
    environment = HOME | {"WHATSAPP_DATA_DIR": str(tmp_path / "data")} | settings
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "supervisor", *arguments),
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await started.communicate()
    forked = await PRELOADED[0].run(arguments, environment, tmp_path)
    assert forked == (started.returncode, out.decode(), err.decode())


async def test_a_supervisor_has_what_it_was_given_and_nothing_of_its_neighbours(
    tmp_path: Path,
) -> None:
    forked = []
    for number in range(2):
        environment = HOME | {
            "WHATSAPP_DATA_DIR": str(tmp_path / f"data-{number}"),
            "WHATSAPP_API_PORT": "0",
            "WHATSAPP_SPARE_WORKERS": "0",
            "WHATSAPP_LOG_FORMAT": "json",
        }
        forked.append(PRELOADED[0].start([], environment, tmp_path / f"{number}.out"))
    try:
        for one in forked:

            async def ready(output: Path = one.output) -> bool:
                return "ready on" in output.read_text()

            await eventually(ready, what="a supervisor")
            assert one.status is None
            assert os.getsid(one.pid) == one.pid, "Ctrl-C in the tests' terminal is not for it"
            shown = [word for word in psutil.Process(one.pid).cmdline() if word]
            assert shown == [sys.executable, "-m", "supervisor"]
            if os.geteuid() == 0:  # a supervisor hides its descriptors from its own user
                opened = [os.readlink(link) for link in Path(f"/proc/{one.pid}/fd").iterdir()]
                others = f"data-{1 - forked.index(one)}"
                assert any(name.endswith("supervisor.lock") for name in opened)
                assert not [name for name in opened if others in name]
        forked[0].signal(signal.SIGKILL)
        assert await forked[0].wait() == -signal.SIGKILL
    finally:
        status = await forked[1].end()
        await forked[0].end()
    assert status == 0, forked[1].tail()
