"""What a killed worker costs its session: replaced by a warm spare, and by a cold start.

One after the other in turns, in one run.
"""

import asyncio
import os
import signal
import time
from statistics import median

from scripts.bench.stage import Bench, opened, paired, seconds
from scripts.lab import Supervisor

KILLS = 8
REFILL_SECONDS = 2.0
"""Between two kills: the next spare has been started by then."""


async def kill(bench: Bench) -> None:
    """Kill -9 one worker after the other, of a different session each time: the waits grow with a
    session's own crashes.
    """
    warm = await bench.supervisor("warm")
    cold = await bench.supervisor("cold", WHATSAPP_SPARE_WORKERS="0")
    sessions = [f"killed-{number}" for number in range(1, KILLS + 1)]
    for supervisor, kind in ((warm, "warm"), (cold, "cold")):
        await paired(bench, supervisor, [f"{kind}-{session}" for session in sessions])
    bench.tell(f"kill: {KILLS} workers are killed with -9, with a warm spare and without one")
    with_spare, without = [], []
    for session in sessions:
        with_spare.append(await _killed_to_open(warm, f"warm-{session}"))
        without.append(await _killed_to_open(cold, f"cold-{session}"))
        await asyncio.sleep(REFILL_SECONDS)
    bench.report.add("kill", "worker killed (-9) to open again, by a warm spare", "s", with_spare)
    bench.report.add("kill", "worker killed (-9) to open again, by a cold start", "s", without)
    bench.report.remark(
        "kill", f"Warm to cold, medians: {median(with_spare) / median(without):.2f}."
    )
    await warm.stop()
    await cold.stop()


async def _killed_to_open(supervisor: Supervisor, session: str) -> float:
    pid = (await supervisor.session(session))["performance"]["workerPid"]
    after = await supervisor.last_event()
    killed = time.time()
    os.kill(pid, signal.SIGKILL)
    return seconds((await opened(supervisor, [session], after))[session][-1]) - killed
