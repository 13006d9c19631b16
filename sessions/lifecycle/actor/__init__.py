"""One session's actor: one inbox, and the parts that do what it brings.

Each part is given the core, and by name those parts whose work it continues; the order below is
that of the imports.

core            state, what is wanted, remembered and shown: what the parts share
session_alerts  its alerts, each told once
reconnect_log   the log's lines about reconnecting
attempts        how attempts begin and end
open_socket     what the worker reports, and the open session
adoption        taking a session up, with the worker that is left or without
replacement     a successor for the worker of an open session
commands        what operators ask
actor           the task and its inbox; what goes wrong inside is mended here
"""

from sessions.lifecycle.actor.actor import Actor

__all__ = ["Actor"]
