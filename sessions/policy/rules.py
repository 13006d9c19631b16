"""The table: what each close reason calls for, with all its numbers.

A policy file may change rows of it (overrides.py).

Sources of the rows and numbers: docs/evidence.md. 440's two tries and 515 at once are what others
in production converged on; the waits for the server's own trouble begin with up to 5 s, as WhatsApp
Web's do; where no source is named, the number is our own.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from sessions.model import CloseReason as R

STORE_RETRY_SECONDS: Final = 5.0


class Action(enum.Enum):
    """What a rule does."""

    RETRY = "retry"
    PARK = "park"
    HOLD = "hold the fleet"
    DONE = "done"


class Pace(enum.StrEnum):
    """How a rule's numbers make a wait. *Jitter* is uniform from `minimum_seconds` to what is
    named.
    """

    NOW = "at once"
    """Jitter up to the cap, which is half a second at most."""
    COMMON = "common"
    """Almost at once after a stable period; else jitter up to the base, doubled for each failure,
    up to the cap; then the long tail.
    """
    SPREAD = "spread"
    """Jitter up to the cap, the same for each try."""
    STEPS = "steps"
    """Jitter up to the base, doubled for each try of this row, never above the cap."""
    WORKER = "worker"
    """The first crash of a window at once, the others like steps; then as many as the crash budget
    lets.
    """
    STORE = "store"
    """Spread, without a login while the store refuses."""


class Credentials(enum.Enum):
    """What becomes of the credentials. There is no row, and no word, for deleting them."""

    KEEP = "keep"
    ARCHIVE = "archive"


class Mend(enum.Enum):
    """Whether a reconnect can mend a parked session, so that force-reconnection is worth a try."""

    RECONNECT = "a reconnect can mend it"
    HUMAN = "only a human can mend it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the policy.

    `base_seconds` and `cap_seconds`: None is the setting's own number (and the base at least
    `base_at_least_seconds`).
    `counts`: how many failures it adds to the breaker. `tries`: how many attempts it allows before
    it parks (None: no limit).
    `opens_breaker`: the breaker is opened when the tries are used up. `correlated`: many sessions
    that close so at the same time
    are an outage, which charges nobody. `mend` and `human` matter once it is parked.
    """

    action: Action
    pace: Pace = Pace.COMMON
    minimum_seconds: float = 0.0
    base_seconds: float | None = None
    base_at_least_seconds: float = 0.0
    cap_seconds: float | None = None
    counts: int = 0
    tries: int | None = None
    opens_breaker: bool = False
    correlated: bool = False
    credentials: Credentials = Credentials.KEEP
    mend: Mend = Mend.RECONNECT
    human: str = ""


Rules = Mapping[R, Rule]
"""A whole table: a rule for every close reason."""

NOTHING: Final = "Nothing: it comes back by itself."
AS_SOON_AS: Final = "It comes back by itself as soon as"
FORCE: Final = "When the cause is gone: `wasup sessions reconnect {id}`."
_COMMON: Final = Rule(action=Action.RETRY, counts=1, correlated=True, human=NOTHING)
_SERVER: Final = replace(_COMMON, base_at_least_seconds=5.0, cap_seconds=900.0)
_AT_ONCE: Final = Rule(action=Action.RETRY, pace=Pace.NOW, cap_seconds=0.0, human=NOTHING)
_STEPS: Final = Rule(
    action=Action.RETRY, pace=Pace.STEPS, base_seconds=30.0, cap_seconds=900.0, counts=1
)
_WORKER: Final = Rule(
    action=Action.RETRY,
    pace=Pace.WORKER,
    minimum_seconds=1.0,
    base_seconds=1.0,
    cap_seconds=60.0,
    human=NOTHING,
)

RULES: Final[Rules] = {
    R.RESTART_REQUIRED: _AT_ONCE,
    R.CONNECTION_CLOSED: _COMMON,
    R.CONNECTION_LOST: _COMMON,
    R.NETWORK_UNREACHABLE: replace(
        _COMMON,
        human=(
            f"{AS_SOON_AS} WhatsApp can be reached again. If it lasts: look at this machine's"
            " network (cable, route, firewall), and at WhatsApp's status."
        ),
    ),
    R.DNS: replace(
        _COMMON,
        human=(
            f"{AS_SOON_AS} the name can be looked up again. If it lasts: look at this machine's DNS"
            " (/etc/resolv.conf, the resolver)."
        ),
    ),
    R.TLS_UNTRUSTED: replace(
        _COMMON,
        human=(
            "It does not come back by itself: whoever answers in WhatsApp's place shows a"
            " certificate that is not trusted here. Find out who does (a TLS-inspecting firewall, a"
            " captive portal, a wrong clock on this machine) and have WhatsApp let through"
            " untouched; if you do trust it, name its CA file in NODE_EXTRA_CA_CERTS and start"
            " wasup again with fresh workers."
        ),
    ),
    R.PROXY: replace(
        _COMMON,
        human=(
            "Look at the session's proxy: does it run, is its address right, does it take the user"
            " and password? Another one: `wasup sessions stop {id}`,"
            f" `wasup sessions proxy set {{id}} URL`, `wasup sessions start {{id}}`. {AS_SOON_AS}"
            " the same one lets it through."
        ),
    ),
    R.ATTEMPT_TIMED_OUT: _COMMON,
    R.UNDECRYPTABLE_FRAME: _COMMON,
    R.UPGRADE_REFUSED: replace(
        _COMMON,
        human=(
            "Something that is not WhatsApp answers in its place: sign in at the captive portal,"
            " or have the firewall or proxy on the way let WebSockets to web.whatsapp.com through."
            f" {AS_SOON_AS} WhatsApp itself answers."
        ),
    ),
    R.QR_EXPIRED: Rule(
        action=Action.PARK,
        mend=Mend.HUMAN,
        human=(
            "Have the phone at hand, then `wasup sessions start {id}` for a new QR code (GET"
            " /sessions/{id}/qr)."
        ),
    ),
    R.PASSKEY_REQUIRED: Rule(
        action=Action.PARK,
        mend=Mend.HUMAN,
        human=(
            "This account confirms a new device with a passkey, which wasup cannot give. On the"
            " phone, in WhatsApp's settings (Account > Passkeys), remove it, then `wasup sessions"
            " start {id}` for a new QR code. Where it is asked for all the same: use another"
            " number, or link a device where passkeys can be given and import its credentials (POST"
            " /sessions/{id}/import)."
        ),
    ),
    R.SERVER_ERROR: _SERVER,
    R.UNAVAILABLE: _SERVER,
    R.RATE_LIMITED: replace(_COMMON, counts=2),
    R.REPLACED: Rule(
        action=Action.RETRY,
        pace=Pace.SPREAD,
        minimum_seconds=30.0,
        cap_seconds=60.0,
        counts=1,
        tries=2,
        opens_breaker=True,
        human=(
            "Another program holds this device's keys: stop that one, then `wasup sessions"
            " reconnect {id}`."
        ),
    ),
    R.LOGGED_OUT: Rule(
        action=Action.PARK,
        credentials=Credentials.ARCHIVE,
        mend=Mend.HUMAN,
        human=(
            "The phone has unlinked this device: `wasup sessions start {id}`, then `wasup sessions"
            " qr {id}` pairs it again. The old credentials are archived."
        ),
    ),
    R.OWN_LOGOUT: Rule(
        action=Action.DONE,
        credentials=Credentials.ARCHIVE,
        mend=Mend.HUMAN,
        human="Logged out as asked: `wasup sessions start {id}`, then `wasup sessions qr {id}`.",
    ),
    R.SAME_DEVICE: Rule(
        action=Action.PARK,
        mend=Mend.HUMAN,
        human=(
            "Another session is this very device (the supervisor's log names it: `grep"
            " same_device`): DELETE the one that you do not need, then `wasup sessions start {id}`,"
            " or pair this one anew."
        ),
    ),
    R.TEMPORARILY_BANNED: Rule(
        action=Action.PARK,
        mend=Mend.HUMAN,
        human=(
            "WhatsApp has banned this number for a time: let it rest; one try is made when the ban"
            " ends."
        ),
    ),
    R.LOCKED: Rule(
        action=Action.PARK,
        mend=Mend.HUMAN,
        human=(
            "WhatsApp has locked this account: open WhatsApp on the phone and follow what it says, "
            "then `wasup sessions start {id}`."
        ),
    ),
    R.BANNED: Rule(
        action=Action.PARK,
        mend=Mend.HUMAN,
        human=(
            "WhatsApp has banned this number: appeal on the phone; once it is lifted, `wasup"
            " sessions start {id}`."
        ),
    ),
    R.CLIENT_OUTDATED: Rule(
        action=Action.HOLD,
        human=(
            "WhatsApp rejects this client version. If other numbers are told so, too, the fleet is"
            " held and one canary at a time tries; if it lasts, update wasup."
        ),
    ),
    R.REPAIR_NEEDED: replace(
        _STEPS,
        tries=2,
        human="WhatsApp refuses this device's registration. "
        + FORCE
        + " If it stays: log out, start and pair again.",
    ),
    R.UNKNOWN_FAILURE: replace(
        _STEPS,
        tries=3,
        human="WhatsApp refuses the login with a code that nobody has explained. " + FORCE,
    ),
    R.STORE_FAILED: Rule(
        action=Action.RETRY,
        pace=Pace.STORE,
        minimum_seconds=STORE_RETRY_SECONDS,
        cap_seconds=2 * STORE_RETRY_SECONDS,
        human=(
            "The data directory cannot be written: free space on its disk. It comes back by itself"
            " when it can be."
        ),
    ),
    R.WORKER_EXITED: _WORKER,
    R.WORKER_HUNG: _WORKER,
    R.DEAF: replace(_AT_ONCE, cap_seconds=0.5),
    R.REQUESTED: _AT_ONCE,
}


def correlated_reasons(rules: Rules = RULES) -> frozenset[R]:
    """The reasons that are evidence of an outage when many sessions close with them."""
    return frozenset(reason for reason, rule in rules.items() if rule.correlated)


def in_words(rule: Rule) -> str:
    """What a rule does, in a few words; the numbers are left out where the settings say them."""
    match rule.action:
        case Action.RETRY if rule.tries is not None:
            return f"{rule.tries} tries, {_pace_in_words(rule)}; then parks"
        case Action.RETRY:
            return f"retries: {_pace_in_words(rule)}"
        case other:
            return {Action.PARK: "parks", Action.HOLD: "holds the fleet", Action.DONE: "stops"}[
                other
            ]


def _pace_in_words(rule: Rule) -> str:
    base = rule.base_at_least_seconds if rule.base_seconds is None else rule.base_seconds
    cap = rule.cap_seconds or 0.0
    match rule.pace:
        case Pace.NOW:
            return "at once"
        case Pace.SPREAD:
            return f"{rule.minimum_seconds:g} to {cap:g} s"
        case Pace.STORE:
            return (
                f"every {rule.minimum_seconds:g} to {cap:g} s, without a login while the store"
                " refuses"
            )
        case Pace.STEPS:
            return f"up to {base:g} s at first, up to {cap:g} s later"
        case Pace.WORKER:
            return f"{base:g} s to {cap:g} s"
        case Pace.COMMON:
            return (
                "common"
                + (f", up to {base:g} s at first" if base else "")
                + (f", up to {cap:g} s later" if cap else "")
            )
