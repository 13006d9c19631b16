"""All webhooks: made, changed and removed; each with a task of its own, so that none waits for
another.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
import structlog

from sessions.forever import Forever, Kept
from sessions.model import StoreUnavailable, WasupError
from sessions.store import Store, StoredEvent
from sessions.store.tables.webhooks import WebhookRow
from supervisor.alerts.alerts import Alerts
from supervisor.delivery.bodies import Bodies
from supervisor.delivery.deliverer import Deliverer, Progress, Tools
from supervisor.delivery.endpoint import outgoing
from supervisor.delivery.endpoint.sender import Outcome, Sender
from supervisor.delivery.endpoint.targets import Guards
from supervisor.delivery.owner import Owner
from supervisor.delivery.telling import Publish, Telling
from supervisor.delivery.views import (
    DeliveryView,
    EventDelivery,
    Place,
    WebhookSecretView,
    WebhookView,
    delivery_view,
    event_delivery,
    heads,
    view,
)
from supervisor.delivery.webhook_settings import (
    InvalidWebhook,
    NewWebhook,
    WebhookChange,
    WebhookNotFound,
    WebhookSettings,
    changed,
    new_id,
    rotated,
    settings_of,
)
from supervisor.fleet.feed import Feed

MOST: Final = 100
"""Webhooks of one installation: each may have 20 requests under way."""
MOST_OF_KEY: Final = MOST // 4
"""Of these, one key's: none takes them all."""
KEYS_SECONDS: Final = 1.0
"""How soon a webhook ends with its owner's key."""
NEWS_SECONDS: Final = 60.0
CLEAN_SECONDS: Final = 3600.0
"""How often rows are dropped that nobody can use any more."""
GAPS_SECONDS: Final = 60.0
"""How often to look whether the log has dropped what a webhook is still to be sent."""
GAPS_KEPT_SECONDS: Final = 30 * 24 * 3600.0

log = structlog.get_logger("delivery")


class TooManyWebhooks(WasupError):
    """There are as many webhooks as there may be."""

    code = "too_many_webhooks"
    hint = "Delete one, or send several sessions' events to one of them."


class Webhooks:
    """Makes, keeps and shows them."""

    def __init__(
        self,
        store: Store,
        feed: Feed,
        alerts: Alerts,
        forever: Forever,
        guards: Guards,
        key_holds: Callable[[str], bool],
        publish: Publish,
        rng: random.Random,
        *,
        retry_seconds: float,
        failing_seconds: float,
    ) -> None:
        self._store = store
        self._feed = feed
        self._alerts = alerts
        self._publish = publish
        self._forever = forever
        self._key_holds = key_holds
        self._sender = Sender(guards)
        self._tools = Tools(
            rows=store.webhooks,
            bodies=Bodies(feed, store),
            sender=self._sender,
            retry_seconds=retry_seconds,
            failing_seconds=failing_seconds,
            rng=rng,
        )
        self._deliverers: dict[str, Deliverer] = {}
        self._tasks: dict[str, Kept] = {}
        self._looks: list[Kept] = []
        self._changing = asyncio.Lock()

    async def open(self) -> None:
        """Go on where the supervisor before has ended. Raises StoreUnavailable."""
        for row in await self._store.webhooks.all():
            self._start(row, msgspec.json.decode(row.settings, type=WebhookSettings))
        self._pause_ended()  # before any of them has its first turn
        keep = self._forever.keep
        self._looks = [
            keep("webhook news", self._wake_all, within_seconds=None),
            keep("webhook rows", self._clean, every_seconds=CLEAN_SECONDS, at_once=False),
            keep("webhook keys", self._pause_ended, every_seconds=KEYS_SECONDS),
            keep("webhook gaps", self._tell_of_gaps, every_seconds=GAPS_SECONDS),
        ]

    async def close(self) -> None:
        """Stop delivering; what is not delivered is when it is opened again."""
        for look in self._looks:
            await look.close()
        await asyncio.gather(*(self._stop(webhook) for webhook in list(self._deliverers)))
        await self._sender.close()

    # --- one, and all -----------------------------------------------------------------------------

    def get(self, webhook: str) -> Deliverer:
        """A webhook. Raises WebhookNotFound."""
        try:
            return self._deliverers[webhook]
        except KeyError:
            raise WebhookNotFound(f"There is no webhook {webhook[:64]!r}.") from None

    def all(self) -> list[Deliverer]:
        """All of them, oldest first."""
        return list(self._deliverers.values())

    async def views(self, some: Sequence[Deliverer]) -> list[WebhookView]:
        """How these are. Raises StoreUnavailable."""
        counts = await self._store.webhooks.counts()
        return [view(found, counts.get(found.id, {}), await self._oldest(found)) for found in some]

    async def view(self, webhook: str) -> WebhookView:
        """How a webhook is. Raises WebhookNotFound, StoreUnavailable."""
        found = self.get(webhook)
        return view(found, await self._store.webhooks.count(webhook), await self._oldest(found))

    async def deliveries_of(
        self, event: StoredEvent, webhooks: Iterable[Deliverer]
    ) -> list[EventDelivery]:
        """What has become of an event at each of these webhooks. Raises StoreUnavailable."""
        told = []
        for found in webhooks:
            row = await self._store.webhooks.covering(found.id, event.n)
            told.append(event_delivery(found, event, row))
        return told

    # --- changes ----------------------------------------------------------------------------------

    # What an answer shows is read before the change, or with it: behind it nothing may fail, or
    # whoever is told so makes the change again.

    async def create(self, new: NewWebhook, owner: Owner) -> WebhookSecretView:
        """Add a webhook; with its secret, which is shown this once.

        Raises InvalidWebhook, TooManyWebhooks, StoreUnavailable.
        """
        settings = settings_of(new, owner)
        async with self._changing:
            if len(self._deliverers) >= MOST:
                raise TooManyWebhooks(f"There are {MOST} webhooks already.")
            self._must_have_room(owner)
            n = self._feed.last if new.after is None else await self._begin(new.after)
            oldest = await self._tools.bodies.first_after(n)
            row = WebhookRow(
                id=new_id(),
                created_at=time.time(),
                settings=msgspec.json.encode(settings),
                paused_because="operator" if new.paused else None,
                progress=msgspec.json.encode(Progress(n, n, began=n)),
            )
            await self._store.webhooks.add(row)
            self._start(row, settings)
        return _with_secret(view(self._deliverers[row.id], {}, oldest), settings)

    async def change(self, webhook: str, change: WebhookChange, by: Owner) -> WebhookView:
        """Change a webhook; it is `by`'s who does, if he gives it another URL, or lets it go on
        after its owner's key has ended.

        Raises WebhookNotFound, InvalidWebhook, TooManyWebhooks, StoreUnavailable.
        """
        async with self._changing:
            found = self.get(webhook)
            paused = found.paused_because
            if change.paused is not msgspec.UNSET:
                paused = (paused or "operator") if change.paused else None
            settings = changed(found.settings, change)
            is_resumed = change.paused is False and self._has_ended(found)
            if is_resumed or settings.url != found.settings.url:
                if by.id != found.settings.owner.id:
                    self._must_have_room(by)
                settings = msgspec.structs.replace(settings, owner=by)
            return await self._write(found, settings, paused)

    async def rotate(self, webhook: str, secret: str | None) -> WebhookSecretView:
        """Give a webhook another secret, which is shown this once.

        Raises WebhookNotFound, InvalidWebhook, StoreUnavailable.
        """
        async with self._changing:
            found = self.get(webhook)
            settings = rotated(found.settings, secret, time.time())
            shown = await self._write(found, settings, found.paused_because)
        return _with_secret(shown, settings)

    async def delete(self, webhook: str) -> None:
        """Remove a webhook. Raises WebhookNotFound, StoreUnavailable."""
        async with self._changing:
            found = self.get(webhook)
            await self._store.webhooks.remove(webhook)
            await self._stop(webhook)
            found.telling.forget()

    # --- what was not delivered -------------------------------------------------------------------

    async def test(self, webhook: str) -> Outcome:
        """Send an event of type webhook.test now, whether or not it is paused.

        Raises WebhookNotFound.
        """
        event = outgoing.test_event(webhook, time.time_ns() // 1_000_000)
        return await self.get(webhook).attempt(event)

    async def deliveries(
        self, webhook: str, after: Place, limit: int, state: str | None
    ) -> list[DeliveryView]:
        """What was not accepted, behind that place, at most so many: what blocks its session now,
        then rows, oldest first. Raises WebhookNotFound, StoreUnavailable.
        """
        found, is_asked = self.get(webhook), not after.is_row and state in {None, "blocked"}
        blocked = heads(found, after.number, limit) if is_asked else []
        if state == "blocked" or len(blocked) == limit:
            return blocked
        first = after.number if after.is_row else 0
        rows = await self._store.webhooks.page(webhook, first, limit - len(blocked), state)
        return blocked + [delivery_view(row) for row in rows]

    async def redrive(self, webhook: str, after: int | None, ids: Sequence[int] | None) -> int:
        """Send again now what was set aside; how many rows. Raises WebhookNotFound,
        StoreUnavailable.
        """
        found = self.get(webhook)
        count, left = await self._store.webhooks.redrive(webhook, time.time(), after, ids)
        found.look_for_late()
        if not left.get("dead"):
            found.telling.redriven()
        return count

    async def replay(self, webhook: str, after: int) -> WebhookView:
        """Send again all that came after a number, whether or not it was accepted.

        Raises WebhookNotFound, InvalidWebhook, StoreUnavailable.
        """
        async with self._changing:
            found = self.get(webhook)
            # what it has not settled is not skipped: to nobody would it be told that it was
            after = min(await self._begin(after), found.lanes.low_water)
            oldest = await self._tools.bodies.first_after(after)
            return view(found, await found.begin_after(after), oldest)

    # --- inside -----------------------------------------------------------------------------------

    def _must_have_room(self, owner: Owner) -> None:
        """Raises TooManyWebhooks: it has its share."""
        if owner.is_operator:
            return
        if sum(one.settings.owner.id == owner.id for one in self.all()) >= MOST_OF_KEY:
            raise TooManyWebhooks(f"This key has {MOST_OF_KEY} webhooks already.")

    def _has_ended(self, found: Deliverer) -> bool:
        """Whether the key of its owner has."""
        key = found.settings.owner.key
        return key is not None and not self._key_holds(key)

    def _pause_ended(self) -> None:
        """Nobody may be sent by a webhook what he may not ask for any more."""
        for found in self.all():
            if self._has_ended(found):
                found.pause("key_ended")

    async def _begin(self, n: int) -> int:
        """Behind which event to begin: one that there was, or 0: all that the log has kept.

        Raises InvalidWebhook, StoreUnavailable.
        """
        if n > self._feed.last:
            raise InvalidWebhook(
                f"after is {n}; the newest event is {self._feed.last}.",
                f"Nothing has come behind it: leave after out, or say {self._feed.last} or less.",
            )
        return n or await self._store.last_dropped_event()

    async def _write(
        self, found: Deliverer, settings: WebhookSettings, paused_because: str | None
    ) -> WebhookView:
        oldest = await self._oldest(found)
        with found.resting():
            settings = settings.succeeding(found.settings, found.judged_to)
            written = msgspec.json.encode(settings)
            counts = await self._store.webhooks.change(found.id, written, paused_because)
            found.use(settings, paused_because)
        return view(found, counts, oldest)

    async def _oldest(self, found: Deliverer) -> StoredEvent | None:
        low_water = found.lanes.low_water
        return await self._tools.bodies.first_after(low_water) if found.behind else None

    def _start(self, row: WebhookRow, settings: WebhookSettings) -> None:
        telling = Telling(self._alerts, self._publish, row.id, settings.url)
        found = self._deliverers[row.id] = Deliverer(row, settings, self._tools, telling)
        self._tasks[row.id] = self._forever.keep(
            f"webhook {row.id}", found.turn, within_seconds=None
        )

    async def _stop(self, webhook: str) -> None:
        await self._tasks.pop(webhook).close()
        await self._deliverers.pop(webhook).close()

    async def _wake_all(self) -> None:
        while True:
            await self._feed.news(NEWS_SECONDS)
            for found in self._deliverers.values():
                found.wake()

    async def _clean(self) -> None:
        rows = self._store.webhooks
        try:
            oldest = await self._store.oldest_event()
            await rows.forget_before(oldest or 0, time.time() - GAPS_KEPT_SECONDS)
            counts = await rows.counts()
        except StoreUnavailable as error:  # which the store tells itself; in an hour again
            log.debug("rows are not dropped now", action="delivery_rows", error=str(error))
            return
        for found in self.all():
            if not counts.get(found.id, {}).get("dead"):
                found.telling.redriven()

    async def _tell_of_gaps(self) -> None:
        try:
            dropped = await self._store.last_dropped_event()
        except StoreUnavailable as error:  # which the store tells itself; in a minute again
            log.debug("gaps are not looked for now", action="delivery_gaps", error=str(error))
            return
        for found in self.all():
            found.on_dropped(dropped)


def _with_secret(shown: WebhookView, settings: WebhookSettings) -> WebhookSecretView:
    secret = settings.secrets[0].value
    return WebhookSecretView(**msgspec.structs.asdict(shown), secret=secret)
