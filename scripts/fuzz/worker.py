"""Workers that have been taken over (rogue.js), and strangers at the workers' socket.

Who listens goes on, whatever they say.
"""

import random
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from scripts.chaos.garbage import connection
from scripts.fuzz.mutation import broken
from scripts.fuzz.stage import Stage
from scripts.lab.processes import ROOT

SOCKET: Final = "supervisor.sock"
IMPATIENT: Final = {
    "WHATSAPP_WORKER_CRASH_BUDGET": "1000000",
    "WHATSAPP_RECONNECTION_BASE_DELAY": "50",
    "WHATSAPP_RECONNECTION_MAX_DELAY": "100",
    "WHATSAPP_CIRCUIT_BREAKER_THRESHOLD": "1000000",
    "WHATSAPP_DAILY_RECONNECT_BUDGET": "1000000",
    "WHATSAPP_GATE_RATE": "100",
    "WHATSAPP_GATE_BURST": "100",
}
"""Settings by which a session is tried again at once, however often its worker misbehaves."""
HELLO: Final = (
    b'{"type":"hello","protocol":2,"worker":"nobody-1","token":"wrong","pid":1,"node_version":"v24",'
    b'"baileys_version":"7","code":"0","sessions":[]}\n'
)


def rogue_root(directory: Path, seed: str) -> Path:
    """A copy of the program whose workers are rogues."""
    ignored = shutil.ignore_patterns("node_modules", "__pycache__", "*.test.js")
    for room in ("api", "sessions", "supervisor", "scripts"):
        shutil.copytree(ROOT / room, directory / room, ignore=ignored)
    rogue = (ROOT / "scripts" / "fuzz" / "rogue.js").read_text().replace("SEED", seed)
    (directory / "sessions" / "worker" / "main.js").write_text(rogue)
    return directory


async def throw(stage: Stage, rng: random.Random) -> str | None:
    """A stranger's words at the socket, and a look whether sessions and API still answer."""
    said = rng.choice(
        (HELLO, HELLO * 50, rng.randbytes(5000), b"[" * 100_000 + b"\n", b"{}\n", b"\n" * 5000)
    )
    with suppress(OSError):  # shown out in the middle of a word: as it should be
        async with connection(stage.supervisor.directory / SOCKET) as (_, writer):
            writer.write(broken(rng, said))
            await writer.drain()
    path = rng.choice(
        (
            "/sessions",
            "/reconnection-status",
            "/incidents",
            "/workers",
            "/performance-metrics",
            "/events",
        )
    )
    status, answer = await stage.supervisor.call("GET", path)
    return None if status == 200 else f"{status} {str(answer)[:300]} to GET {path}"
