"""`wasup sessions proxy set|show|clear`; also of a store without a supervisor."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from sessions.model import SessionId, SessionNotFound, parse_session_id
from supervisor.cli.common.groups import LazyGroup, Verb, group
from supervisor.cli.common.options import Json, SessionName
from supervisor.cli.common.output import say, show_json
from supervisor.cli.common.reach import configuration, must_run, running

if TYPE_CHECKING:
    from sessions.credentials.proxy import Proxy
    from supervisor.settings import Settings

HERE: Final = "session_commands.proxy"


class ProxyVerbs(LazyGroup):
    """The verbs; `wasup sessions proxy ID URL`, as it was called before, sets one."""

    verbs = {  # noqa: RUF012 - the base class declares it as one of the class
        "set": Verb(HERE, "set_proxy", "Let a session go out by this proxy"),
        "show": Verb(HERE, "show_proxy", "Show by which proxy it goes out"),
        "clear": Verb(HERE, "clear_proxy", "Let it go out without a proxy"),
    }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """What no verb is named by is the session whose proxy is set."""
        old = len(args) == 2 and args[0] not in self.verbs and not args[0].startswith("-")
        return super().resolve_command(ctx, ["set", *args] if old else args)


app = group(ProxyVerbs, "The proxy that a session goes out by, or not at all.")


def set_proxy(
    session: SessionName,
    url: Annotated[
        str,
        typer.Argument(
            help=(
                "scheme://user:password@host:port, or `none`; `-` reads it from stdin, where nobody"
                " sees it."
            )
        ),
    ],
    as_json: Json = False,
) -> None:
    """Let a stopped or parked session use this proxy from its next start on (`none`: no proxy)."""
    given = sys.stdin.readline().strip() if url == "-" else url
    _change(session, None if given == "none" else given, as_json)


def clear_proxy(session: SessionName, as_json: Json = False) -> None:
    """Let a stopped or parked session go out without a proxy from its next start on."""
    _change(session, None, as_json)


def show_proxy(session: SessionName, as_json: Json = False) -> None:
    """Show by which proxy a session goes out; never its user and password."""
    proxy = must_run().call("GET", f"/sessions/{parse_session_id(session)}")["proxy"]
    if as_json:
        show_json({"proxy": proxy})
    else:
        say(proxy or f"{session} uses no proxy.")


def _change(session: str, url: str | None, as_json: bool) -> None:
    from sessions.credentials.proxy import parse_proxy
    from supervisor.cli.common.store_access import carry_out

    name, settings = parse_session_id(session), configuration()
    proxy = parse_proxy(url) if url is not None else None
    client = running(settings)
    if client is not None:
        answer = client.call("PUT", f"/sessions/{name}/proxy", {"proxy": proxy and proxy.url})
    else:
        carry_out(_store_proxy(settings, name, proxy))
        answer = {"id": name, "proxy": proxy and proxy.name}
    if as_json:
        show_json(answer)
    elif proxy:
        say(f"{name} goes through {proxy.name} from its next start on.")
    else:
        say(f"{name} uses no proxy from its next start on.")


async def _store_proxy(settings: "Settings", name: SessionId, proxy: "Proxy | None") -> None:
    from supervisor.cli.common.store_access import own_store

    async with own_store(settings, "wasup sessions proxy") as store:
        if name not in {row.id for row in await store.sessions()}:
            raise SessionNotFound(f"There is no session {name!r}.")
        await store.set_proxy(name, proxy)
