"""The policy: what is in force, and reading its file again."""

import msgspec
from aiohttp import web

from api.parts import POLICY
from api.responses import json
from supervisor.fleet.policy_file import PolicyView


class PolicyReloaded(msgspec.Struct, frozen=True):
    """What reading the file again has done. `changed`: against the policy before, in sentences."""

    reloaded: bool
    changed: list[str]
    policy: PolicyView


async def get_policy(request: web.Request) -> web.Response:
    """The policy in force: every row, and where it differs from the defaults."""
    return json(request.app[POLICY].view())


async def reload_policy(request: web.Request) -> web.Response:
    """Read the policy file again and judge by it from now on; no session is restarted.

    A bad file changes nothing.
    """
    policy = request.app[POLICY]
    changed = policy.reload()
    return json(PolicyReloaded(True, changed, policy.view()))
