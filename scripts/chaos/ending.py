"""The end: supervisor and workers stop in order, and nothing of them is left."""

from scripts.chaos.invariants import Violation
from scripts.chaos.stage import Stage
from scripts.chaos.targets import working_below


async def end(stage: Stage) -> list[Violation]:
    """Stop all; what is left. Raises LabError."""
    # On this stage a SIGTERM detaches; so the last supervisor is one that takes its workers with
    # it.
    await stage.supervisor.stop()
    stage.supervisor.settings = dict(stage.supervisor.settings) | {"WHATSAPP_SHUTDOWN": "stop"}
    await stage.start_supervisor()
    status = await stage.supervisor.stop()
    found = (
        []
        if status == 0
        else [Violation("stops in order", None, f"the supervisor's exit status is {status}")]
    )
    for process in working_below(stage.supervisor.directory):
        words = f"{process.pid}: {' '.join(process.info['cmdline'] or [])}"
        found.append(Violation("no leaked process", None, words))
    return found
