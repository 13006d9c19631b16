"""The supervisor's side of its helper process: begun when something is to be sent, ended when
nothing was for a while, begun anew if it dies.

Whatever is in the helper, sent by it, or heard from it: nothing here waits for longer than it says.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import structlog

from sessions.forever import describe
from supervisor.alerts.channels.wire import REPLY_BYTES, SEND_SECONDS, Reply, Request, Service
from supervisor.alerts.notices import NotDelivered

SLACK_SECONDS: Final = 10.0
"""Beyond a message's own time, in which it is begun and told of; then it is the helper that
hangs.
"""
IDLE_SECONDS: Final = 600.0
"""Without a message for so long the helper is ended: its memory is for those who are told."""
ROOT: Final = Path(__file__).resolve().parents[3]
COMMAND: Final = (sys.executable, "-m", "supervisor.alerts.channels.helper_program")
PASSED_ON: Final = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
)
"""What it inherits of our environment: how to get out, and whom to trust; no setting, no secret."""

log = structlog.get_logger("alerts")


class HelperFailed(Exception):
    """The helper process has ended, or does not answer."""


@dataclass(slots=True)
class _Sending:
    """A message under way."""

    line: bytes = field(repr=False)  # it holds secrets
    done: asyncio.Future[None]
    delivered: int = 0
    problems: list[Reply] = field(default_factory=list)


class Helper:
    """Sends by the helper process. `look` is what runs for ever of it."""

    def __init__(
        self,
        command: Sequence[str] = COMMAND,
        *,
        send_seconds: float = SEND_SECONDS,
        slack_seconds: float = SLACK_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._command = command
        self._send_seconds = send_seconds
        self._slack_seconds = slack_seconds
        self._idle_seconds = idle_seconds
        self._numbers = itertools.count(1)
        self._sending: dict[int, _Sending] = {}
        self._wanted = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process's, while there is one."""
        return None if self._process is None else self._process.pid

    async def send(
        self,
        service: Service,
        targets: Sequence[dict[str, Any]],
        title: str,
        body: str,
        *,
        severity: Literal["warning", "critical", "over"] = "warning",
        extras: dict[str, Any] | None = None,
        secrets: Sequence[str] = (),
        attach: Path | None = None,
    ) -> list[str]:
        """Send it to all targets. Raises NotDelivered if it has reached none of them; else, which
        it has not reached, and why. `attach`: a file that goes with it.
        """
        number = next(self._numbers)
        request = Request(
            id=number,
            service=service,
            targets=list(targets),
            title=title,
            body=body,
            severity=severity,
            extras=extras or {},
            secrets=list(secrets),
            attach=None if attach is None else str(attach),
            seconds=self._send_seconds,
        )
        line = msgspec.json.encode(request) + b"\n"
        sending = _Sending(line, asyncio.get_running_loop().create_future())
        self._sending[number] = sending
        self._wanted.set()
        if self._process is not None:
            self._write(self._process, sending)
        try:
            async with asyncio.timeout(self._send_seconds + self._slack_seconds):
                await sending.done
        except TimeoutError:
            self._kill()  # it is the helper that hangs: each message has an end of its own
            raise NotDelivered("the process that sends it does not answer") from None
        except HelperFailed as error:
            raise NotDelivered(str(error)) from None
        finally:
            del self._sending[number]
        words = [reply.problem or "" for reply in sending.problems]
        if not sending.delivered:
            permanent = bool(words) and all(reply.permanent for reply in sending.problems)
            text = "; ".join(dict.fromkeys(words)) or "nobody is to be told"
            raise NotDelivered(text, permanent=permanent)
        return words

    async def look(self) -> None:
        """Wait until something is to be sent, and run the process until nothing is.

        Raises HelperFailed when it dies, OSError when it cannot be begun.
        """
        await self._wanted.wait()
        try:
            await self._run()
        except BaseException as error:
            words = "the process that sends it was ended"
            if isinstance(error, HelperFailed):
                words = str(error)
            elif isinstance(error, Exception):
                words = f"the process that sends it cannot be used: {describe(error)}"
            for sending in self._sending.values():
                if not sending.done.done():
                    sending.done.set_exception(HelperFailed(words))
            raise
        finally:
            if not self._sending:
                self._wanted.clear()

    async def _run(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a traceback could quote what is being sent
            cwd=ROOT,
            env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
            start_new_session=True,  # Ctrl-C is for the supervisor
            limit=2 * REPLY_BYTES,
        )
        self._process = process
        try:
            for sending in self._sending.values():
                self._write(process, sending)
            await self._hear(process)
        finally:
            self._process = None
            if process.returncode is None:
                self._kill(process)
            await process.wait()

    async def _hear(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                async with asyncio.timeout(self._idle_seconds):
                    line = await process.stdout.readline()
            except TimeoutError:
                if self._sending:
                    continue
                log.debug("nothing is to be sent: the helper ends", action="helper_idle")
                return
            except ValueError:  # a line without an end
                raise HelperFailed(
                    "the process that sends it says what nobody understands"
                ) from None
            if not line:
                raise HelperFailed(f"the process that sends it has {await _ended(process)}")
            try:
                self._take(msgspec.json.decode(line, type=Reply))
            except msgspec.MsgspecError:
                raise HelperFailed(
                    "the process that sends it says what nobody understands"
                ) from None

    def _take(self, reply: Reply) -> None:
        sending = self._sending.get(reply.id)
        if sending is None:  # nobody waits for it any more
            return
        if reply.end is None:
            if reply.problem is None:
                sending.delivered += 1
            else:
                sending.problems.append(reply)
            return
        if (words := _UNFINISHED.get(reply.end)) is not None:
            sending.problems.append(
                Reply(id=reply.id, problem=words.format(seconds=self._send_seconds))
            )
        if not sending.done.done():
            sending.done.set_result(None)

    def _write(self, process: asyncio.subprocess.Process, sending: _Sending) -> None:
        assert process.stdin is not None
        process.stdin.write(sending.line)

    def _kill(self, process: asyncio.subprocess.Process | None = None) -> None:
        """End it, and whatever it has begun: its pipes are closed when all of them have ended."""
        process = process or self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


_UNFINISHED: Final = {
    "too slow": "it has not taken the message within {seconds:g} s",
    "died": "the process that sent it was ended",
    "refused": "too many messages are under way",
}
"""By how a message's process ended; `done` says nothing more."""


async def _ended(process: asyncio.subprocess.Process) -> str:
    """How a process has ended that has closed its stdout."""
    try:
        async with asyncio.timeout(1.0):
            status = await process.wait()
    except TimeoutError:
        return "closed its answers"
    return f"died of signal {-status}" if status < 0 else f"ended with {status}"
