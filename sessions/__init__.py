"""One session: its states, policy, actor, worker process and credentials.

Knows nothing of the fleet, of HTTP or of the environment.
"""
