"""What every test is held to: it leaves no process behind, and no two logins of one device ever
overlap.
"""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from pathlib import Path

import hypothesis
import psutil
import pytest
import pytest_asyncio

from scripts.lab import StandIn, Supervisor
from scripts.lab.conformity import check
from scripts.lab.preloaded import Preloaded
from scripts.lab.supervisor import CHECKS, PRELOADED
from supervisor.settings import variable
from tests.sharing import SharedSupervisors, keep_compiled, supply_compiled

# On Python 3.11 pytest-asyncio's first look for "the loop before" makes one, which nobody closes;
# some later test is then blamed.
asyncio.set_event_loop(None)

# Behind nohup, or as a shell's background job, SIGINT is ignored, and so it would be in every
# process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's affair, and no test's.
hypothesis.settings.register_profile("wasup", deadline=None)
hypothesis.settings.load_profile("wasup")

# Every answer is as the API describes itself.
CHECKS.append(check)

# The tests start supervisors and commands some 500 times, and loading them would be most of it.
PRELOADED.append(Preloaded())

# Whoever sets it hides what goes wrong with buffered output, which is what people run.
os.environ.pop("PYTHONUNBUFFERED", None)

# Nobody who runs wasup compiles all of it at each start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

NUMBERS = itertools.count()
"""So that no two supervisors of this process share a data directory, however their tests are
called.
"""
FEW_WORKERS: dict[str, object] = {"spare_workers": 0}
"""Unless a test asks for spares: each costs 0.4 s of CPU, and most tests need but one worker."""

StartSupervisor = Callable[..., Awaitable[Supervisor]]

FAILED = pytest.StashKey[bool]()
REAL_PARTS = pytest.StashKey[list[StandIn | Supervisor]]()
"""What a test has started, for its report if it fails."""
SHOWN_LINES = 40


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test of the real parts that fails tells where their logs lie, and their last lines."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
        for part in item.stash.get(REAL_PARTS, []):
            report.sections += part.last_words(SHOWN_LINES).items()
    return report


@pytest.hookimpl(trylast=True)  # fixtures of a run that was interrupted end in this hook, too
def pytest_sessionfinish() -> None:
    """What has forked supervisors has nobody to fork for any more."""
    PRELOADED[0].close()


@pytest.fixture(autouse=True)
def own_umask() -> Iterator[None]:
    """Commands set the umask of their process; one that a test calls in this process must not set
    it for the tests behind it.
    """
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def lab_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the real parts live; at the end of the run no process works there any more and no
    socket is left.
    """
    directory = tmp_path_factory.mktemp("lab")
    yield directory
    assert _processes_below(directory) == []
    assert [str(path) for path in directory.rglob("*.sock")] == []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_standin(lab_directory: Path) -> AsyncIterator[StandIn]:
    """The stand-in of this test run.

    Its log is the ground truth: no two logins of one device may overlap, in any test.
    """
    standin = await StandIn.start(lab_directory / "standin")
    yield standin
    overlaps, logins = await standin.log("overlap"), await standin.log("login")
    await standin.close()
    assert set(standin.paired) <= {entry["session"] for entry in logins}, (
        "a session was open without a login in the log, which then proves nothing"
    )
    assert overlaps == []


@pytest_asyncio.fixture(loop_scope="session")
async def standin(shared_standin: StandIn, request: pytest.FixtureRequest) -> StandIn:
    """The stand-in, with a log that begins with the test: another test may have used the same
    names.
    """
    request.node.stash.setdefault(REAL_PARTS, []).append(shared_standin)
    return await shared_standin.from_now_on()


@pytest_asyncio.fixture(loop_scope="session")
async def start_supervisor(
    standin: StandIn, lab_directory: Path, request: pytest.FixtureRequest
) -> AsyncIterator[StartSupervisor]:
    """Start supervisors, each with a data directory of its own, aimed at the stand-in; the settings
    are keywords without prefix.
    """
    started: list[Supervisor] = []
    real_parts = request.node.stash.setdefault(REAL_PARTS, [])

    async def start(**settings: object) -> Supervisor:
        name = f"{request.node.name[:40].replace('/', '_')}-{next(NUMBERS)}"
        supervisor = Supervisor(
            lab_directory / name, standin.environment() | environment(FEW_WORKERS | settings)
        )
        started.append(supervisor)
        real_parts.append(supervisor)
        supply_compiled(supervisor.directory)
        return await supervisor.start()

    yield start
    await standin.mend()
    for supervisor in started:
        await supervisor.close()
        keep_compiled(supervisor.directory)
        assert supervisor.process is None or supervisor.process.status in {0, -9}, (
            supervisor.process.tail()
        )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_supervisors(
    shared_standin: StandIn, lab_directory: Path
) -> AsyncIterator[SharedSupervisors]:
    """The supervisors of this test run that tests share."""
    shared = SharedSupervisors(lab_directory)
    yield shared
    await shared.close()


@pytest_asyncio.fixture(loop_scope="session")
async def share_supervisor(
    standin: StandIn, shared_supervisors: SharedSupervisors, request: pytest.FixtureRequest
) -> AsyncIterator[StartSupervisor]:
    """Get a supervisor with these settings that other tests have used, too (`sharing.py` says for
    whom that is).
    """
    lent: list[Supervisor] = []

    async def share(**settings: object) -> Supervisor:
        supervisor = await shared_supervisors.lend(
            standin.environment() | environment(FEW_WORKERS | settings)
        )
        lent.append(supervisor)
        request.node.stash.setdefault(REAL_PARTS, []).append(supervisor)
        return supervisor

    yield share
    await standin.mend()
    for supervisor in lent:
        await shared_supervisors.take_back(supervisor, request.node.stash.get(FAILED, False))


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Settings given as keywords, as environment variables."""
    return {variable(name): str(value) for name, value in settings.items()}


def _processes_below(directory: Path) -> list[str]:
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        places = [process.info["cwd"] or "", *(process.info["cmdline"] or [])]
        if process.pid != os.getpid() and any(str(directory) in place for place in places):
            found.append(f"{process.pid}: {' '.join(process.info['cmdline'] or [])}")
    return found
