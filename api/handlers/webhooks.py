"""The handlers of webhooks: who is sent the events, and what was not accepted."""

from typing import Annotated, Final, Literal

import msgspec
from aiohttp import web

from api.errors import BadRequest
from api.gatehouse.once import keyed
from api.gatehouse.principals import named, principal_of
from api.paging import PageQuery, begins_after, page
from api.parts import WEBHOOKS
from api.responses import body, json, query
from supervisor.access.principal import Principal
from supervisor.delivery.deliverer import Deliverer
from supervisor.delivery.owner import Owner
from supervisor.delivery.views import DeliveryView, Place, WebhookView
from supervisor.delivery.webhook_registry import Webhooks
from supervisor.delivery.webhook_settings import NewWebhook, WebhookChange, WebhookNotFound

MOST: Final = 1000
USUAL: Final = 100
Number = Annotated[int, msgspec.Meta(ge=0, lt=10**15)]
"""An event's or a row's: the store holds no greater ones."""


class WebhookList(msgspec.Struct, frozen=True, rename="camel"):
    """Webhooks, oldest first. `next`: the `after` of the next page; None: this is the last."""

    webhooks: list[WebhookView]
    next: str | None


class WebhookDeleted(msgspec.Struct, frozen=True, rename="camel"):
    """It is gone."""

    id: str
    deleted: bool


class NewSecret(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A secret to sign with; without one, it is made."""

    secret: str | None = None


class DeliveryQuery(PageQuery, forbid_unknown_fields=True):
    """Which part of the list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST, description="So many at the most.")] = USUAL
    state: Annotated[
        Literal["blocked", "retrying", "dead", "gap"] | None,
        msgspec.Meta(description="Those of one kind alone."),
    ] = None


class DeliveryList(msgspec.Struct, frozen=True, rename="camel"):
    """What was not accepted. `next`: for `after` of the next page; None: this was the last."""

    deliveries: list[DeliveryView]
    next: str | None


class Redrive(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What to send again: one of these. `ids`: numbers of rows; `failed`: all of them."""

    after: Number | None = None
    ids: Annotated[list[Number], msgspec.Meta(min_length=1, max_length=MOST)] | None = None
    failed: bool = False


class Redriven(msgspec.Struct, frozen=True, rename="camel"):
    """How many rows are sent again now."""

    redriven: int


class Replay(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """After which event everything is sent again."""

    after: Number


async def list_webhooks(request: web.Request) -> web.Response:
    """All webhooks: how far each has come, and whether its endpoint accepts what it is sent."""
    webhooks, asked = _webhooks(request), query(request, PageQuery)
    mine = [one for one in webhooks.all() if is_for(principal_of(request), one)]
    shown, following = page(mine, lambda one: (one.created_at, one.id), tuple[float, str], asked)
    return json(WebhookList(await webhooks.views(shown), following))


@keyed
async def create_webhook(request: web.Request) -> web.Response:
    """Send what happens from now on (or after the event `after`) to a URL, signed.

    The answer holds the secret that signs, this once.
    """
    new = await body(request, NewWebhook)
    new.sessions = named(request, new.sessions)
    made = await _webhooks(request).create(new, Owner.of(principal_of(request)))
    response = json(made, status=201)
    response.headers["Location"] = f"/webhooks/{made.id}"
    return response


async def get_webhook(request: web.Request) -> web.Response:
    """One webhook."""
    return json(await _webhooks(request).view(_id(request)))


async def change_webhook(request: web.Request) -> web.Response:
    """Change what is named, and leave the rest.

    `paused: false` resumes: what happened meanwhile is sent. Who gives it another URL, or resumes
    it after its owner's key has ended, is its owner.
    """
    change = await body(request, WebhookChange)
    if change.sessions is not msgspec.UNSET:
        change.sessions = named(request, change.sessions)
    by = Owner.of(principal_of(request))
    return json(await _webhooks(request).change(_id(request), change, by))


async def delete_webhook(request: web.Request) -> web.Response:
    """Remove a webhook, and what it has not delivered."""
    webhook = _id(request)
    await _webhooks(request).delete(webhook)
    return json(WebhookDeleted(webhook, True))


@keyed
async def rotate_webhook_secret(request: web.Request) -> web.Response:
    """Sign with another secret, given or made; for 24 hours the one before signs, too.

    The answer holds the new one, this once.
    """
    chosen = await body(request, NewSecret) if request.can_read_body else NewSecret()
    return json(await _webhooks(request).rotate(_id(request), chosen.secret))


@keyed
async def test_webhook(request: web.Request) -> web.Response:
    """Send an event of type `webhook.test` now, once, and answer with what came of it."""
    return json(await _webhooks(request).test(_id(request)))


async def list_deliveries(request: web.Request) -> web.Response:
    """What a webhook's endpoint has not accepted, with its last answer and its next try: what
    blocks its session now, then what was set aside, oldest first; `?state=` of one kind alone.
    """
    asked = query(request, DeliveryQuery)
    after = begins_after(asked, Place) or Place()
    # One more than is shown tells whether there is a next page.
    found = await _webhooks(request).deliveries(_id(request), after, asked.limit + 1, asked.state)
    shown, following = page(found, lambda one: one.place, Place, asked)
    return json(DeliveryList(shown, following))


@keyed
async def redrive_webhook(request: web.Request) -> web.Response:
    """Send again now what was set aside: all of it (`failed`), what came after an event (`after`),
    or some of it by number (`ids`).
    """
    chosen = await body(request, Redrive)
    if sum((chosen.after is not None, chosen.ids is not None, chosen.failed)) != 1:
        raise BadRequest(
            "It is not said what to send again.",
            'Send one of {"failed": true}, {"after": n} and {"ids": [...]}.',
        )
    count = await _webhooks(request).redrive(_id(request), chosen.after, chosen.ids)
    return json(Redriven(count), status=202)


@keyed
async def replay_webhook(request: web.Request) -> web.Response:
    """Send again everything that came after an event, whether or not it was accepted.

    The ids stay the same: a receiver that remembers them takes nothing twice.
    """
    after = (await body(request, Replay)).after
    return json(await _webhooks(request).replay(_id(request), after), status=202)


def _webhooks(request: web.Request) -> Webhooks:
    return request.app[WEBHOOKS]


def _id(request: web.Request) -> str:
    """The webhook that the path names. Raises WebhookNotFound: also if it is not for who calls."""
    webhook = request.match_info["webhook"]
    if not is_for(principal_of(request), _webhooks(request).get(webhook)):
        raise WebhookNotFound(f"There is no webhook {webhook!r}.")
    return webhook


def is_for(principal: Principal, webhook: Deliverer) -> bool:
    """Whether a webhook exists for who calls: it is sent nothing but what he may see himself."""
    sessions = webhook.settings.sessions or (None,)
    return all(principal.sees(session) for session in sessions)
