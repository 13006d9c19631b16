"""The optimizer on a real kernel, with real PAM: in a network and directories of its own, so that
this machine stays as it is.
"""

import os
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.host.numbers import whole
from tests.integration.host.private_host import ROOT, WRITTEN, PrivateHost

SCRIPT = ROOT / "scripts" / "optimize_system.py"
LIMITS = "/etc/security/limits.d/99-websocket-limits.conf"
SYSCTLS = "/etc/sysctl.d/99-websocket-optimizations.conf"
CONNECTIONS = 5_000
TOOLS = ("unshare", "nsenter", "mount", "prlimit", "su", "sysctl")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, TOOLS)),
    reason=f"needs root and {', '.join(TOOLS)}",
)

CONNECT = f"""
import socket
server = socket.create_server(("127.0.0.1", 0), backlog=1024)
kept = []
try:
    for _ in range({CONNECTIONS}):
        kept += [socket.create_connection(server.getsockname()), server.accept()[0]]
except OSError as error:
    print("failed:", error.strerror, "after", len(kept) // 2)
else:
    print("connected:", len(kept) // 2)
"""
"""Both ends in one process: two descriptors for each connection."""


@pytest.fixture
def host() -> Iterator[PrivateHost]:
    try:
        private = PrivateHost()
    except OSError as error:
        pytest.skip(f"no namespaces here: {error}")
    yield private
    private.close()


def optimize(host: PrivateHost, reports: Path, *arguments: str) -> tuple[int, str]:
    return host.run(sys.executable, SCRIPT, "--report-dir", reports, *arguments)


def listing(host: PrivateHost) -> str:
    return host.run("find", *WRITTEN, "-printf", "%p %y %m %u %s\n")[1]


def sysctl(host: PrivateHost, key: str) -> int:
    status, said = host.run("sysctl", "-n", key)
    assert status == 0, said
    return int(said)


def test_kernel_values_are_applied_verified_and_taken_back(
    host: PrivateHost, tmp_path: Path
) -> None:
    keys = (
        "net.core.somaxconn",
        "net.ipv4.tcp_max_syn_backlog",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
    )
    for key, low in zip(keys, (128, 128, 7200, 60), strict=True):
        assert host.run("sysctl", "-q", "-w", f"{key}={low}")[0] == 0
    before, empty = [sysctl(host, key) for key in keys], listing(host)

    _, said = optimize(host, tmp_path, "--yes")
    assert [sysctl(host, key) for key in keys] == [whole(key) for key in keys], said
    assert "read-only" in said.lower(), (
        "fs, kernel and vm cannot be written in there, and it says so"
    )
    written = listing(host)

    _, said = optimize(host, tmp_path, "--yes")
    assert listing(host) == written, said

    _, said = optimize(host, tmp_path, "--rollback", "--yes")
    assert [sysctl(host, key) for key in keys] == before, said
    assert listing(host) == empty


def test_a_login_has_the_limits_that_were_written_and_5000_connections_succeed_where_they_failed(
    host: PrivateHost, tmp_path: Path
) -> None:
    """Through PAM (su), from a parent with the customary soft limit."""
    parent = (
        "prlimit",
        f"--nofile={whole('nofile_default')}:{resource.getrlimit(resource.RLIMIT_NOFILE)[1]}",
    )
    login = (*parent, "su", "--shell", "/bin/sh", "root", "--command")
    assert int(host.run(*login, "ulimit -Sn")[1]) == whole("nofile_default")
    _, said = host.run(*parent, sys.executable, "-c", CONNECT)
    assert said.startswith("failed: Too many open files"), said

    _, told = optimize(host, tmp_path, "--yes")
    written = {
        (fields[0], fields[1]): int(fields[3])
        for fields in (
            line.split() for line in host.read(LIMITS).splitlines() if not line.startswith("#")
        )
        if fields and fields[2] == "nofile"
    }
    assert set(written) == {(who, kind) for who in ("*", "root") for kind in ("soft", "hard")}, told
    assert int(host.run(*login, "ulimit -Sn")[1]) == written["root", "soft"]
    assert int(host.run(*login, "ulimit -Hn")[1]) == written["root", "hard"]
    assert written["root", "soft"] >= 2 * CONNECTIONS
    _, said = host.run(*login, f"exec {sys.executable} - <<'END'\n{CONNECT}\nEND")
    assert said.strip() == f"connected: {CONNECTIONS}"
