"""A host of its own for a test: the real machine's root, with a private network, and private
directories where system files go.

Linux namespaces only; what is mounted there nobody else sees, and it is gone with the process that
holds it.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
WRITTEN: Final = ("/etc/security/limits.d", "/etc/sysctl.d", "/var/lib")
"""Directories that are empty and private there."""
SHARED: Final = ("fs", "kernel", "vm")
"""Below /proc/sys what belongs to all namespaces: read-only there.

`net` is the namespace's own, and writable.
"""

_BEGIN: Final = f"""
set -eu
for directory in {" ".join(WRITTEN)}; do mount -t tmpfs -o mode=755 tmpfs "$directory"; done
for part in {" ".join(SHARED)}; do mount --bind /proc/sys/$part /proc/sys/$part; mount -o remount,bind,ro /proc/sys/$part; done
{sys.executable} -c 'import fcntl, socket, struct
sock = socket.socket()
fcntl.ioctl(sock, 0x8914, struct.pack("16sh22x", b"lo", 0x49))  # SIOCSIFFLAGS: up, running, loopback'
echo ready
exec sleep 600
"""


class PrivateHost:
    """Namespaces, held by a process that sleeps in them."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", _BEGIN],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            self._holder.wait()
            assert self._holder.stderr is not None
            raise OSError(self._holder.stderr.read().strip())

    def run(
        self, *command: str | Path, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Exit status and output of a command in there."""
        done = subprocess.run(
            ["nsenter", "--target", str(self._holder.pid), "--mount", "--net", *command],
            env=dict(environment or os.environ),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def read(self, path: str) -> str:
        """A file in there. Raises OSError if there is none."""
        status, said = self.run("cat", path)
        if status:
            raise OSError(said)
        return said

    def close(self) -> None:
        """End it; nothing is left of it."""
        self._holder.kill()
        self._holder.communicate()
