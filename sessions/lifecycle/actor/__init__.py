"""One session's actor, floor by floor: each file knows only those below it.

actor        the task and its inbox; operators' commands
replacing    a successor for the worker of an open session
adopting     taking a session up, with the worker that is left or without
opening      what the worker reports, and the open session
attempting   how attempts begin and end
standing     state, memory, what is shown, small tools
"""

from sessions.lifecycle.actor.actor import Actor

__all__ = ["Actor"]
