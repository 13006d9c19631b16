"""What a session is given: its numbers, and the parts of the program around it."""

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sessions.lifecycle.health import HealthConfig
from sessions.policy import Config
from sessions.ports import Admission, Deliver, Publish, Record, WorkerSource
from sessions.records.distribution import Distribution

if TYPE_CHECKING:  # the settings take their numbers from here, and every command takes its settings
    from sessions.store import Store
    from sessions.workers.keys import KeyService


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """A session's numbers, handed down from the settings; seconds and counts."""

    policy: Config = field(default_factory=Config)
    breaker_threshold: int = 5
    breaker_timeout_seconds: float = 600.0
    connect_timeout_seconds: float = 30.0
    qr_timeout_seconds: float = 60.0
    stable_after_seconds: float = 60.0
    send_timeout_seconds: float = 40.0
    health: HealthConfig = field(default_factory=HealthConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """What a session is given of the program around it.

    `round_trips`: those of all sessions are counted there.
    """

    config: SessionConfig
    store: "Store"
    keys: "KeyService"
    workers: WorkerSource
    gate: Admission
    publish: Publish
    record: Record
    deliver: Deliver
    rng: random.Random
    round_trips: Distribution = field(default_factory=Distribution)
