"""What is asked of the tracing of memory stands in the query, and nothing elsewhere is passed over."""

import pytest

from tests.api_tools import api, ask


@pytest.mark.parametrize("content", [b'{"seconds": 0.01}', b"[]"])
async def test_a_body_is_refused_with_where_it_belongs(content: bytes) -> None:
    async with api() as address:
        refused = await ask(address, "POST", "/debug/memory", content)
        assert (refused.status, refused.error["code"]) == (400, "bad_request")
        assert refused.error["hint"] == (
            "Say it in the query: seconds: a number above 0, and 60.0 at the most."
        )
