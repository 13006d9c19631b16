"""Make a process that SIGKILL does not end, as one that hangs in the kernel: `python -m
scripts.lab.unkillable PID`, until stdin closes.

It is traced with PTRACE_O_TRACEEXIT: killed, it stops at its very end and stays there, with all
that it has, for as long as its tracer lives. Its pidfd does not become readable and nobody can reap
it, as with a process in uninterruptible sleep (a disk that does not answer, a frozen cgroup of
version 1), which cannot be had without a kernel's help. Needs the right to trace it: root, or
CAP_SYS_PTRACE.
"""

import asyncio
import ctypes
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

PTRACE_SEIZE: Final = 0x4206
PTRACE_O_TRACEEXIT: Final = 0x40
READY: Final = b"it cannot be killed\n"
ROOT: Final = Path(__file__).parents[2]


@asynccontextmanager
async def unkillable(pid: int) -> AsyncIterator[None]:
    """While the block runs, the process cannot be ended; afterwards a signal that it was sent takes
    effect. Raises PermissionError.
    """
    tracer = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "scripts.lab.unkillable",
        str(pid),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert tracer.stdin is not None, "it was asked for"
    assert tracer.stdout is not None, "it was asked for"
    try:
        if await tracer.stdout.readline() != READY:
            raise PermissionError(f"process {pid} may not be traced")
        yield
    finally:
        tracer.stdin.close()
        await tracer.wait()


def main() -> int:
    """Trace it until nobody holds our stdin any more; the kernel lets it go when we end."""
    trace = ctypes.CDLL(None, use_errno=True).ptrace
    trace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if trace(PTRACE_SEIZE, int(sys.argv[1]), None, PTRACE_O_TRACEEXIT) != 0:
        print(os.strerror(ctypes.get_errno()), flush=True)
        return 1
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    sys.stdin.buffer.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
