"""Names that can be taken away: who is started here has an /etc/hosts of his own, in a mount
namespace (Linux, `unshare`).

It has one name, `localhost`, and no other name server than this machine, where none answers.
Without the name a look-up fails as it does when DNS is away.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

NAME: Final = "localhost"
_HOSTS: Final = f"127.0.0.1 {NAME}\n"
_RESOLV_CONF: Final = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
_MOUNT: Final = (
    'mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/resolv.conf" /etc/resolv.conf && exec'
    ' "$@"'
)


class Names:
    """The names of one directory; there from the start."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.give_back()
        (directory / "resolv.conf").write_text(_RESOLV_CONF)

    @property
    def prefix(self) -> tuple[str, ...]:
        """A command that runs what follows it with these names.

        Its process becomes that command's.
        """
        who = () if os.geteuid() == 0 else ("--map-root-user",)
        return "unshare", *who, "--mount", "sh", "-c", _MOUNT, str(self._directory)

    async def work(self) -> bool:
        """Whether this machine allows it: a container often does not."""
        silent = asyncio.subprocess.DEVNULL
        try:
            tried = await asyncio.create_subprocess_exec(
                *self.prefix, "true", stdout=silent, stderr=silent
            )
        except OSError:  # there is no unshare
            return False
        return await tried.wait() == 0

    def take_away(self) -> None:
        """From now on nothing has a name. The file stays the same one: it is mounted."""
        (self._directory / "hosts").write_text("")

    def give_back(self) -> None:
        """All is as before."""
        (self._directory / "hosts").write_text(_HOSTS)


def by_name(url: str) -> str:
    """A URL on loopback, with the laboratory's name in place of the address."""
    return url.replace("127.0.0.1", NAME)
