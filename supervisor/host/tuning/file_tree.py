"""A file tree below a root: reading in it as a process inside it would, and writing into it so that
a file is there whole or not at all.

With a root other than `/` no symbolic link leads out of it: an absolute one begins at the root
again, and none is followed when we write.
"""

import contextlib
import errno
import os
import secrets
import stat
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from supervisor.host.tuning.system_files import (
    LIMITS_DIRECTORY,
    LIMITS_FILE,
    SYSCTL_DIRECTORIES,
    SYSCTL_FILE,
    SYSCTL_LAST,
    Configuration,
    Line,
    Malformed,
    limits_order,
    parse_limits,
    parse_sysctl,
    sysctl_order,
)

TEMPORARY: Final = ".wasup-"
"""How files begin that wait for their place.

Nobody who reads these directories looks at hidden ones.
"""
PAM_DIRECTORIES: Final = ("etc/pam.d", "usr/lib/pam.d", "usr/etc/pam.d")
LINKS_MOST: Final = 40
"""Symbolic links on one way; more is a circle (path_resolution(7) has the same number)."""

_Parse = Callable[[str, str], tuple[list[Line], list[Malformed]]]


class InTheWay(OSError):
    """Where a file or directory of ours belongs stands something else."""


@dataclass(frozen=True, slots=True)
class Owned:
    """A file's content and what belongs to it. Times in nanoseconds."""

    content: bytes
    mode: int
    uid: int
    gid: int
    changed_at_ns: int


class Tree:
    """The tree below `root`. Paths are given without a leading slash."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.live = self.root == Path("/")
        self._handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._handle)

    # ---- reading

    def resolve(self, path: str) -> Path:
        """Where a path leads for a process that has `root` as its root.

        Raises OSError when links go in a circle.
        """
        todo = list(PurePosixPath(path).parts)
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop(0)
            if part in ("/", "."):
                continue
            if part == "..":
                done = done[:-1]
                continue
            here = self.root.joinpath(*done, part)
            if not here.is_symlink():
                done.append(part)
                continue
            links += 1
            if links > LINKS_MOST:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(here))
            target = PurePosixPath(os.readlink(here))
            if target.is_absolute():
                done = []
            todo = [*target.parts, *todo]
        return self.root.joinpath(*done)

    def read(self, path: str) -> bytes | None:
        """A file's content; None: it is not there. Raises OSError."""
        try:
            file = self.resolve(path)
            if not file.is_file():  # a device such as /dev/null masks a file: nothing to read
                return b"" if file.exists() and not file.is_dir() else None
            return file.read_bytes()
        except FileNotFoundError:
            return None

    def names(self, directory: str) -> list[str]:
        """What is in a directory; nothing if it is not there."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return sorted(os.listdir(self.resolve(directory)))
        return []

    def sysctl_configuration(self) -> Configuration:
        """What the sysctl files of others set.

        `/etc/sysctl.conf` counts last where `sysctl --system` reads it.
        """
        files = sysctl_order({directory: self.names(directory) for directory in SYSCTL_DIRECTORIES})
        read = {self._target(file) for file in files}
        last = [] if self.has_systemd() or self._target(SYSCTL_LAST) in read else [SYSCTL_LAST]
        return self._configuration([*files, *last], SYSCTL_FILE, parse_sysctl)

    def has_systemd(self) -> bool:
        """True if systemd starts this system: it then applies the sysctl files at boot, else
        `sysctl --system` does.
        """
        targets = (
            self._target(path) for path in ("usr/lib/systemd/systemd", "lib/systemd/systemd")
        )
        return any(target is not None and target.exists() for target in targets)

    def logins_read_limits(self) -> bool:
        """True if a login calls pam_limits, without which nobody reads the limits files (Alpine,
        small containers).
        """
        for directory in PAM_DIRECTORIES:
            for name in self.names(directory):
                with contextlib.suppress(OSError):  # unreadable: another one will tell
                    lines = (self.read(f"{directory}/{name}") or b"").splitlines()
                    if any(b"pam_limits.so" in line.split(b"#")[0] for line in lines):
                        return True
        return False

    def _target(self, path: str) -> Path | None:
        """Where a path leads; None: in a circle. Who reads it is told."""
        try:
            return self.resolve(path)
        except OSError:
            return None

    def limits_configuration(self) -> Configuration:
        """What the limits files of others set."""
        return self._configuration(
            limits_order(self.names(LIMITS_DIRECTORY)), LIMITS_FILE, parse_limits
        )

    def _configuration(self, files: Sequence[str], ours: str, parse: _Parse) -> Configuration:
        lines: list[Line] = []
        malformed: list[Malformed] = []
        unreadable: dict[str, str] = {}
        ours_at = 0
        for file in files:
            if file == ours:
                ours_at = len(lines)
                continue
            try:
                content = self.read(file)
            except OSError as error:
                unreadable[f"/{file}"] = error.strerror or str(error)
                continue
            found, wrong = parse(file, (content or b"").decode("utf-8", "surrogateescape"))
            lines += found
            malformed += wrong
        return Configuration(
            lines=lines, malformed=malformed, ours_at=ours_at, unreadable=unreadable
        )

    def read_ours(self, path: str) -> Owned | None:
        """A file that we may replace; None: it is not there.

        Raises InTheWay if it is a link, a directory or a device.
        """
        file = self.place(path)
        try:
            with self.parent(path) as (parent, name):
                handle = os.open(
                    name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent
                )
        except InTheWay:
            raise
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise InTheWay(errno.ELOOP, "a symbolic link is in the way", str(file)) from None
            raise
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            os.close(handle)
            raise InTheWay(errno.EEXIST, "something that is not a file is in the way", str(file))
        with open(handle, "rb") as opened:
            return Owned(
                opened.read(),
                stat.S_IMODE(state.st_mode),
                state.st_uid,
                state.st_gid,
                state.st_mtime_ns,
            )

    # ---- writing

    def place(self, path: str) -> Path:
        """Where a file of ours lies.

        Raises InTheWay if the way is barred (by a link only in a tree that is not `/`).
        """
        here = self.root
        for part in PurePosixPath(path).parts[:-1]:
            here = here / part
            if here.is_symlink() and not self.live:
                raise InTheWay(
                    errno.ELOOP,
                    "a symbolic link is in the way, and might lead out of the tree",
                    str(here),
                )
            if (here.exists() or here.is_symlink()) and not here.is_dir():
                raise InTheWay(
                    errno.ENOTDIR, "something that is not a directory is in the way", str(here)
                )
        return self.root / path

    def missing_directories(self, path: str) -> list[str]:
        """The directories above `path` that are not there, the uppermost first."""
        parents = [str(parent) for parent in PurePosixPath(path).parents if str(parent) != "."]
        return [parent for parent in reversed(parents) if not (self.root / parent).exists()]

    @contextlib.contextmanager
    def parent(self, path: str) -> Iterator[tuple[int, str]]:
        """A descriptor of the directory that the path's last part lies in, and that part.

        Raises InTheWay, OSError.

        Opened step by step from the root's own descriptor, and in a tree that is not `/` through no
        link: whoever moves directories about meanwhile moves nothing of ours out of the tree.
        """
        handle = os.dup(self._handle)
        try:
            *above, name = PurePosixPath(path).parts
            for part in above:
                below = self._step(handle, part)
                os.close(handle)
                handle = below
            yield handle, name
        finally:
            os.close(handle)

    def _step(self, handle: int, part: str) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if self.live else os.O_NOFOLLOW)
        try:
            return os.open(part, flags, dir_fd=handle)
        except OSError as error:
            if error.errno == errno.ELOOP or (
                error.errno == errno.ENOTDIR and _is_link(handle, part)
            ):
                raise InTheWay(
                    errno.ELOOP,
                    "a symbolic link is in the way, and might lead out of the tree",
                    part,
                ) from None
            raise

    def make_directories(self, directories: Sequence[str]) -> None:
        """Make them, uppermost first, open to all for reading. Raises OSError."""
        for directory in directories:
            with self.parent(directory) as (handle, name):
                try:
                    os.mkdir(name, dir_fd=handle)
                except FileExistsError:
                    os.close(self._step(handle, name))  # a directory, or it is in the way
                    continue
                made = self._step(handle, name)
                try:
                    # whatever the umask is: pam_limits and systemd have to find what lies there
                    os.fchmod(made, 0o755)
                finally:
                    os.close(made)
                _sync(handle)

    def remove_directories(self, directories: Sequence[str]) -> list[str]:
        """Remove them, lowest first; back come those that are not empty any more."""
        left = []
        for directory in reversed(directories):
            try:
                with self.parent(directory) as (handle, name):
                    os.rmdir(name, dir_fd=handle)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                left.append(directory)
        return left

    def write(self, path: str, owned: Owned) -> None:
        """Put a file in place, whole or not at all, also if the machine loses power.

        Raises OSError, and has then changed nothing.
        """
        self.stage(path, owned).commit()

    def stage(self, path: str, owned: Owned) -> "Staged":
        """Write the file beside its place, durably: what can run out of space has then happened.

        Raises OSError, and has then left nothing.
        """
        self.place(path)
        with self.parent(path) as (parent, name):
            temporary = f"{TEMPORARY}{secrets.token_hex(8)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(temporary, flags, 0o600, dir_fd=parent)
            try:
                with open(handle, "wb") as opened:
                    opened.write(owned.content)
                    opened.flush()
                    state = os.fstat(handle)
                    if (state.st_uid, state.st_gid) != (owned.uid, owned.gid):
                        os.fchown(handle, owned.uid, owned.gid)
                    # after the change of owner, which takes the set-id bits
                    os.fchmod(handle, owned.mode)
                    if owned.changed_at_ns:
                        os.utime(handle, ns=(owned.changed_at_ns, owned.changed_at_ns))
                    os.fsync(handle)
            except BaseException:
                os.unlink(temporary, dir_fd=parent)
                raise
            return Staged(os.dup(parent), temporary, name)

    def remove(self, path: str) -> None:
        """Remove a file; it may be gone already. Raises OSError."""
        self.place(path)
        with contextlib.suppress(FileNotFoundError), self.parent(path) as (handle, name):
            os.unlink(name, dir_fd=handle)
            _sync(handle)

    def sweep(self, path: str) -> None:
        """Remove the temporary files beside `path` whose writer was killed. Nobody reads them."""
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError, InTheWay),
            self.parent(path) as (handle, _),
        ):
            for name in os.listdir(handle):
                if name.startswith(TEMPORARY) and _mode(handle, name, stat.S_ISREG):
                    os.unlink(name, dir_fd=handle)


class Staged:
    """A file that waits beside its place."""

    def __init__(self, parent: int, temporary: str, name: str) -> None:
        """`parent`: a descriptor of their directory, which is closed when the file is in its place,
        or away.
        """
        self._parent: int | None = parent
        self._temporary = temporary
        self._name = name

    def commit(self) -> None:
        """Into its place. Raises OSError, and has then left nothing."""
        assert self._parent is not None, "once"
        try:
            if _is_link(self._parent, self._name) or _mode(self._parent, self._name, stat.S_ISDIR):
                raise InTheWay(errno.EEXIST, "a link or a directory is in the way", self._name)
            os.replace(
                self._temporary, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent
            )
            _sync(self._parent)
        finally:
            self.discard()

    def discard(self) -> None:
        """Away with it; it may be in its place, or gone, already."""
        if self._parent is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._parent)
            os.close(self._parent)
            self._parent = None


def _mode(parent: int, name: str, test: Callable[[int], bool]) -> bool:
    """Whether what has that name is of that kind; a link is none but itself."""
    try:
        return test(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _is_link(parent: int, name: str) -> bool:
    return _mode(parent, name, stat.S_ISLNK)


def _sync(handle: int) -> None:
    """Make durable what was renamed, made or removed in a directory."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):
            # some file systems do not sync directories
            raise
