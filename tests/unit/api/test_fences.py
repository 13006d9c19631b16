"""What one key takes of what all share."""

from contextlib import ExitStack

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from api.errors import Busy
from api.gatehouse.fences import Places
from api.gatehouse.principals import PRINCIPAL
from supervisor.access.principal import BY_TOKEN, Principal
from supervisor.access.scopes import Scope


def call(principal: Principal | None) -> web.Request:
    request = make_mocked_request("GET", "/events")
    if principal is not None:
        request[PRINCIPAL] = principal
    return request


def of_key(name: str) -> Principal:
    return Principal(id=f"key:{name}", name=name, scope=Scope.READ)


def test_one_key_has_a_quarter_of_the_places_and_the_operator_all_that_are_left() -> None:
    places = Places(8, "calls wait")
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(places.one(call(of_key("a"))))
        with (
            pytest.raises(Busy, match="2 calls wait for this caller"),
            places.one(call(of_key("a"))),
        ):
            pass
        stack.enter_context(places.one(call(of_key("b"))))
        for _ in range(5):
            stack.enter_context(places.one(call(BY_TOKEN)))
        with pytest.raises(Busy, match="8 calls wait already"), places.one(call(None)):
            pass
    with places.one(call(of_key("a"))):
        assert places.taken == 1
    assert places.taken == 0
