"""A receiver that is down, answers 500, hangs, resets and works again, sessions that go on
producing events meanwhile, and a supervisor that is killed three times: what has to arrive, and the
judge of whether it has.

The same story at any size: the suite plays a small one, `make bench-delivery` the whole.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from scripts.lab import LabError, Supervisor, eventually
from scripts.lab.receiver import Delivery, Mood, Receiver

Tell = Callable[[str], None]
CALL_SECONDS: Final = 60.0
"""So long a call is made again while the supervisor is away."""


class Broken(LabError):
    """A promise was not kept."""


@dataclass(frozen=True, slots=True)
class Act:
    """A mood of the receiver, for so long; whether the supervisor is killed in it."""

    mood: Mood
    seconds: float
    killed: bool = False


@dataclass(frozen=True, slots=True)
class Story:
    """`events`: in all, spread evenly over the sessions and the acts' time.

    `patient`: at the end nobody tells wasup that the receiver works again.
    """

    acts: Sequence[Act]
    sessions: int = 50
    events: int = 20_000
    patient: bool = True
    drain_seconds: float = 900.0

    @classmethod
    def whole(cls, faster: float = 1.0, events: int = 20_000) -> "Story":
        """The one that was promised; `faster`: its times divided by that."""
        acts = [
            Act("kind", 30 / faster),
            Act("away", 600 / faster, killed=True),
            Act("error", 300 / faster),
            Act("hang", 60 / faster, killed=True),
            Act("reset", 30 / faster, killed=True),
            Act("drip", 30 / faster),
            Act("busy", 30 / faster),
        ]
        return cls(acts, events=events, patient=faster <= 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has come of it."""

    events: int
    requests: int
    repeated: int
    late: int
    drained_seconds: float
    """From when the receiver worked again until it had everything."""


async def play(
    story: Story, supervisor: Supervisor, receiver: Receiver, tell: Tell = lambda _: None
) -> Outcome:
    """Play it, wait until everything has arrived, and judge. Raises Broken, LabError."""
    names = [f"s{number}" for number in range(story.sessions)]
    webhook = await supervisor.must("POST", "/webhooks", {"url": receiver.url})
    public = Webhook(webhook["secret"])
    receiver.refuses = lambda one: not _verifies(public, one)
    for name in names:
        await supervisor.must("POST", "/sessions", {"id": name, "start": False})
    total, left = sum(act.seconds for act in story.acts), story.events
    for act in story.acts:
        count = left if act is story.acts[-1] else round(story.events * act.seconds / total)
        left -= count
        await receiver.be(act.mood)
        tell(f"{act.mood}: {act.seconds:.0f} s, {count} events" + (", kill -9" * act.killed))
        making = asyncio.create_task(_produce(supervisor, names, count, act.seconds))
        if act.killed:
            await asyncio.wait([making], timeout=act.seconds / 2)
            await supervisor.kill()
            await supervisor.start()
        await making
    await receiver.be("kind")
    began = time.monotonic()
    if not story.patient:
        # an operator who has mended the endpoint need not wait for the next canary
        await supervisor.must("PATCH", f"/webhooks/{webhook['id']}", {"paused": False})
    expected = await logged(supervisor)
    if len(expected) < story.events:
        raise Broken(f"{story.events} events were made, and the log has {len(expected)}")

    async def missing() -> int:
        return len(expected.keys() - {one.headers["webhook-id"] for one in receiver.accepted})

    tell(f"the receiver works again; {await missing()} events are still to come")
    await eventually(
        missing, lambda count: not count, story.drain_seconds, "the arrival of all events"
    )
    drained = time.monotonic() - began
    await eventually(
        lambda: supervisor.get(f"/webhooks/{webhook['id']}"),
        lambda seen: seen["behind"] == 0 and seen["state"] == "delivering",
    )
    found = await supervisor.get(f"/webhooks/{webhook['id']}/deliveries")
    if found["deliveries"]:
        raise Broken(f"everything has arrived, and this is left: {found['deliveries'][:3]}")
    repeated, late = judge(receiver.accepted, expected)
    return Outcome(len(expected), receiver.requests, repeated, late, drained)


async def logged(supervisor: Supervisor) -> dict[str, dict[str, Any]]:
    """Every event of a session that the log has, by its id."""
    found: dict[str, dict[str, Any]] = {}
    after = 0
    while page := (await supervisor.get(f"/events?after={after}"))["events"]:
        found |= {event["id"]: event for event in page if event["session"] is not None}
        after = page[-1]["n"]
    return found


def judge(
    accepted: Sequence[Delivery], expected: Mapping[str, Mapping[str, Any]]
) -> tuple[int, int]:
    """How many came again, and how many late. Raises Broken: something is missing, another than
    before, or out of its session's order (holes apart, which say so).
    """
    bodies, latest = dict[str, bytes](), defaultdict[str, int](int)
    repeated = late = 0
    for one in accepted:
        event = one.event
        if event["id"] != one.headers["webhook-id"]:
            raise Broken(f"{event['id']} was sent as {one.headers['webhook-id']}")
        if event["session"] is None:
            continue
        late += one.late
        if (known := bodies.setdefault(event["id"], one.body)) is not one.body:
            repeated += 1
            if known != one.body:
                raise Broken(f"{event['id']} came again with another content")
            continue
        if not one.late:
            if event["n"] <= latest[event["session"]]:
                raise Broken(f"{event['session']}: {event['n']} came after a later one")
            latest[event["session"]] = event["n"]
        if event != expected[event["id"]]:
            raise Broken(f"{event['id']} is not as /events has it")
    if bodies.keys() != expected.keys():
        raise Broken(f"{len(expected.keys() - bodies.keys())} events have not arrived")
    return repeated, late


def _verifies(public: Webhook, one: Delivery) -> bool:
    """Whether the public library takes it, now: it refuses what is five minutes old."""
    try:
        public.verify(one.body, dict(one.headers))
    except WebhookVerificationError:
        return False
    return True


async def _produce(
    supervisor: Supervisor, names: Sequence[str], count: int, seconds: float
) -> None:
    """So many events, of one session after the other, each session's one by one, over that time."""
    began, each = time.monotonic(), seconds / max(1, count)
    free = [asyncio.Lock() for _ in names]

    async def make(number: int) -> None:
        async with free[number % len(names)]:
            path = f"/sessions/{names[number % len(names)]}/proxy"
            await _persistently(lambda: supervisor.must("PUT", path, {"proxy": None}))

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number * each - time.monotonic()))
            group.create_task(make(number))


async def _persistently(call: Callable[[], Awaitable[Any]]) -> None:
    async def once() -> bool:
        try:
            await call()
        except (aiohttp.ClientError, OSError, LabError):
            return False
        return True

    await eventually(once, seconds=CALL_SECONDS, what="a call")
