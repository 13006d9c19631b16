"""Stand-ins for what surrounds a session, each in a file of its own: workers that obey, a gate that
can be shut, a store in memory, a wall clock in step with the loop.

They never raise at a breach (the actor would swallow it): they write it into `breaches`, and the
tests end with `assert breaches == []`.
"""

from tests.fakes.clock import EPOCH, fake_time
from tests.fakes.credentials import CREDS, JID, buffer, key_pair
from tests.fakes.gate import CORRELATED, FakeGate, FakeTicket
from tests.fakes.outcomes import Outcome, closes, dies, opens, says_nothing, shows_qr
from tests.fakes.store import FakeRecords, FakeStore
from tests.fakes.worker import LADDER, FakeWorker
from tests.fakes.workers import FakeWorkers
from tests.fakes.world import World

__all__ = [
    "CORRELATED",
    "CREDS",
    "EPOCH",
    "JID",
    "LADDER",
    "FakeGate",
    "FakeRecords",
    "FakeStore",
    "FakeTicket",
    "FakeWorker",
    "FakeWorkers",
    "Outcome",
    "World",
    "buffer",
    "closes",
    "dies",
    "fake_time",
    "key_pair",
    "opens",
    "says_nothing",
    "shows_qr",
]
