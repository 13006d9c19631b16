"""The line: every frame there and back, the fixtures that both sides share, and whatever else a
broken worker may say.
"""

import json
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessions.model import CloseReason
from sessions.workers import wire

FIXTURES: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(wire.__file__).parent.parent / "worker" / "frames.fixtures.json").read_text(
        encoding="utf-8"
    )
)
UP: tuple[type[wire.Frame], ...] = typing.get_args(wire.Up)
DOWN: tuple[type[wire.Frame], ...] = typing.get_args(wire.Down)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
numbers = st.integers(min_value=0, max_value=2**53 - 1)
finite = st.floats(min_value=-1e15, max_value=1e15)
raws = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
).map(lambda value: msgspec.Raw(msgspec.json.encode(value)))
maps = st.none() | st.dictionaries(texts, texts, max_size=3)
of_a_session = {"session": texts}
held = st.builds(
    wire.Held,
    **of_a_session,
    epoch=numbers,
    attempt=numbers,
    stage=st.sampled_from(wire.Stage),
    qr=st.none() | texts,
    jid=st.none() | texts,
    name=st.none() | texts,
    open_for_ms=st.none() | finite,
    closed=st.none()
    | st.builds(
        wire.HowClosed,
        code=st.none() | numbers,
        message=texts,
        data=maps,
        registered=st.booleans(),
        reason=st.sampled_from(CloseReason),
    ),
)

FRAMES: dict[type[wire.Frame], st.SearchStrategy[wire.Frame]] = {
    wire.Hello: st.builds(
        wire.Hello,
        protocol=numbers,
        worker=texts,
        token=texts,
        pid=numbers,
        node_version=texts,
        baileys_version=texts,
        code=texts,
        sessions=st.lists(held, max_size=2),
    ),
    wire.State: st.builds(wire.State, **of_a_session, attempt=numbers, stage=texts),
    wire.Qr: st.builds(wire.Qr, **of_a_session, attempt=numbers, qr=texts),
    wire.Opened: st.builds(
        wire.Opened, **of_a_session, attempt=numbers, jid=texts, name=st.none() | texts
    ),
    wire.Closed: st.builds(
        wire.Closed,
        **of_a_session,
        attempt=numbers,
        code=st.none() | numbers,
        message=texts,
        data=maps,
        registered=st.booleans(),
        reason=st.sampled_from(CloseReason),
    ),
    wire.KeysGet: st.builds(
        wire.KeysGet, **of_a_session, epoch=numbers, id=numbers, kind=texts, names=st.lists(texts)
    ),
    wire.KeysSet: st.builds(
        wire.KeysSet,
        **of_a_session,
        epoch=numbers,
        seq=numbers,
        entries=st.lists(st.builds(wire.KeyEntry, kind=texts, name=texts, value=raws), max_size=4),
    ),
    wire.Message: st.builds(
        wire.Message,
        **of_a_session,
        epoch=numbers,
        seq=numbers,
        id=texts,
        sender=texts,
        participant=st.none() | texts,
        text=st.none() | texts,
        timestamp_seconds=numbers,
        kind=st.none() | texts,
        from_me=st.booleans(),
        kept=st.lists(texts, max_size=2),
    ),
    wire.Receipt: st.builds(
        wire.Receipt,
        **of_a_session,
        epoch=numbers,
        seq=numbers,
        id=texts,
        sender=texts,
        status=texts,
    ),
    wire.Probed: st.builds(
        wire.Probed,
        **of_a_session,
        id=numbers,
        ok=st.booleans(),
        round_trip_ms=st.none() | finite,
        silent=st.booleans(),
        stalled=st.none() | st.sampled_from(wire.Stall),
    ),
    wire.Phone: st.builds(wire.Phone, **of_a_session, seen_at_seconds=numbers),
    wire.Replied: st.builds(
        wire.Replied,
        **of_a_session,
        id=numbers,
        ok=st.booleans(),
        result=maps,
        error=st.none() | st.builds(wire.ReplyError, code=texts, message=texts),
    ),
    wire.Beat: st.builds(wire.Beat, lag_ms=finite, rss_bytes=numbers, heap_bytes=numbers),
    wire.Assign: st.builds(
        wire.Assign,
        **of_a_session,
        epoch=numbers,
        creds=raws,
        proxy=st.none() | texts,
        inbound=st.dictionaries(texts, raws, max_size=2),
    ),
    wire.Connect: st.builds(wire.Connect, **of_a_session, attempt=numbers),
    wire.Close: st.builds(wire.Close, **of_a_session),
    wire.Logout: st.builds(wire.Logout, **of_a_session, id=numbers),
    wire.Probe: st.builds(wire.Probe, **of_a_session, id=numbers),
    wire.PairingCode: st.builds(wire.PairingCode, **of_a_session, id=numbers, phone=texts),
    wire.Send: st.builds(wire.Send, **of_a_session, id=numbers, to=texts, text=texts),
    wire.KeysValues: st.builds(
        wire.KeysValues, **of_a_session, id=numbers, values=st.dictionaries(texts, raws, max_size=4)
    ),
    wire.KeysAck: st.builds(
        wire.KeysAck, **of_a_session, seq=numbers, ok=st.booleans(), error=st.none() | texts
    ),
    wire.EventsAck: st.builds(wire.EventsAck, **of_a_session, epoch=numbers, seq=numbers),
    wire.Refuse: st.builds(wire.Refuse, reason=texts),
    wire.Release: st.builds(wire.Release, **of_a_session),
    wire.Shutdown: st.builds(wire.Shutdown),
}


def test_every_frame_has_a_strategy_here() -> None:
    assert set(FRAMES) == {*UP, *DOWN}


@given(st.one_of([FRAMES[kind] for kind in UP]))
def test_every_frame_up_comes_back_as_it_was(frame: wire.Frame) -> None:
    line = wire.encode(frame)
    assert _plain(wire.decode_up(line)) == _plain(frame)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1, "one frame is one line, whatever it carries"


@given(st.one_of([FRAMES[kind] for kind in DOWN]))
def test_every_frame_down_comes_back_as_it_was(frame: wire.Frame) -> None:
    line = wire.encode(frame)
    assert _plain(wire.decode_down(line)) == _plain(frame)
    assert line.count(b"\n") == 1


@pytest.mark.parametrize("example", FIXTURES["up"], ids=lambda e: e["type"])
def test_what_the_worker_sends_is_understood_as_the_shared_fixtures_say(
    example: dict[str, Any],
) -> None:
    frame = wire.decode_up(json.dumps(example).encode())
    again = json.loads(wire.encode(frame))
    assert again == example


def test_a_worker_of_0_1_0_which_says_nothing_of_numbers_and_codes_is_understood() -> None:
    shown = wire.decode_up(b'{"type":"qr","session":"s","attempt":1,"qr":"Q"}')
    assert shown == wire.Qr("s", attempt=1, qr="Q", qr_number=None, renewed=None, pairing_code=None)
    held = {
        "session": "s",
        "epoch": 1,
        "attempt": 1,
        "stage": "qr",
        "qr": "Q",
        "jid": None,
        "name": None,
    }
    hello = next(example for example in FIXTURES["up"] if example["type"] == "hello")
    understood = wire.decode_up(json.dumps(hello | {"sessions": [held]}).encode())
    assert isinstance(understood, wire.Hello)
    assert (understood.sessions[0].qr_number, understood.sessions[0].pairing_code) == (None, None)


@pytest.mark.parametrize("example", FIXTURES["down"], ids=lambda e: e["type"])
def test_what_we_send_is_what_the_shared_fixtures_say(example: dict[str, Any]) -> None:
    frame = wire.decode_down(json.dumps(example).encode())
    assert json.loads(wire.encode(frame)) == example


@pytest.mark.parametrize(("direction", "kinds"), [("up", UP), ("down", DOWN)])
def test_the_fixtures_have_an_example_of_every_frame(
    direction: str, kinds: tuple[type[wire.Frame], ...]
) -> None:
    assert {example["type"] for example in FIXTURES[direction]} == {
        kind.__struct_config__.tag for kind in kinds
    }


@pytest.mark.parametrize("example", [*FIXTURES["up"], *FIXTURES["down"]], ids=lambda e: e["type"])
def test_a_frame_that_lacks_a_field_is_not_guessed_at(example: dict[str, Any]) -> None:
    up = example in FIXTURES["up"]
    decode, kinds = (wire.decode_up, UP) if up else (wire.decode_down, DOWN)
    kind = next(kind for kind in kinds if kind.__struct_config__.tag == example["type"])
    required = [f.encode_name for f in msgspec.structs.fields(kind) if f.required]
    for name in required:
        torn = {key: value for key, value in example.items() if key != name}
        with pytest.raises(wire.WireError):
            decode(json.dumps(torn).encode())


def test_a_stage_that_does_not_exist_is_not_guessed_at() -> None:
    hello = next(example for example in FIXTURES["up"] if example.get("sessions"))
    torn = {**hello, "sessions": [{**hello["sessions"][0], "stage": "nearly open"}]}
    with pytest.raises(wire.WireError):
        _decode_up(torn)


def test_a_field_that_a_newer_side_has_added_does_no_harm() -> None:
    assert isinstance(
        wire.decode_up(b'{"type":"beat","lag_ms":1,"rss_bytes":2,"heap_bytes":3,"new":{}}'),
        wire.Beat,
    )


@pytest.mark.parametrize(
    ("value", "deleted"), [(b"null", True), (b" null ", True), (b'"null"', False), (b"{}", False)]
)
def test_only_null_deletes_a_key(value: bytes, deleted: bool) -> None:
    line = (
        b'{"type":"keys.set","session":"a","epoch":1,"seq":1,"entries":[{"kind":"k","name":"n","value":%s}]}'
        % value
    )
    frame = wire.decode_up(line)
    assert isinstance(frame, wire.KeysSet)
    assert frame.entries[0].deleted is deleted


@given(st.binary(max_size=200))
@example(b"")
@example(b"\n")
@example(b"null")
@example(b"\xff\xfe")
@example(b'{"type":"beat","lag_ms":1e999,"rss_bytes":1,"heap_bytes":1}')
@example(b'{"type":"hello","session":"\xff"}')
@example(b"[" * 100_000)
@example(b'{"type":"beat","extra":' + b"[" * 100_000)
def test_arbitrary_bytes_raise_nothing_but_a_wire_error(line: bytes) -> None:
    for decode in (wire.decode_up, wire.decode_down):
        with pytest.raises(wire.WireError) as caught:
            decode(line)
        assert len(str(caught.value)) < 300


SECRET = "sEcReT-kEy-MaTeRiAl"


@pytest.mark.parametrize(
    "line",
    [
        f'{{"type":"{SECRET}"}}',
        f'{{"type":"closed","session":"a","attempt":1,"code":1,"message":"","data":null,"registered":true,"reason":"{SECRET}"}}',
        f'{{"type":"keys.set","session":"a","epoch":"{SECRET}","seq":1,"entries":[]}}',
        f'{{"type":"keys.set","session":"a","epoch":1,"seq":1,"entries":[{{"kind":"k","name":"n","value":"{SECRET}"}}]',
        f'{{"type":"keys.values","session":"a","id":1,"values":{{"{SECRET}":1}}',
        f"{SECRET}",
        f'"{SECRET}"',
    ],
)
def test_the_error_never_quotes_the_line(line: str) -> None:
    for decode in (wire.decode_up, wire.decode_down):
        with pytest.raises(wire.WireError) as caught:
            decode(line.encode())
        assert SECRET not in str(caught.value)
        assert caught.value.__suppress_context__, "the decoder's own error is not shown either"


def _decode_up(example: dict[str, Any]) -> wire.Up:
    return wire.decode_up(json.dumps(example).encode())


def _plain(frame: wire.Frame) -> Any:
    return json.loads(msgspec.json.encode(frame))


# --- bounds ---------------------------------------------------------------------------------------

# strangers choose them, and may not be able to end a worker with them: they are cut where they are
# shown
_UNBOUNDED = {
    ("message", "id"),
    ("message", "from"),
    ("message", "participant"),
    ("message", "text"),
    ("message", "kind"),
    ("receipt", "id"),
    ("receipt", "from"),
}
_ENUMS = {"reason", "stalled"}


def _spoilt(value: Any) -> Any:
    """More of the same kind than any honest worker says."""
    match value:
        case bool():
            return None
        case int():
            return 10**20
        case float():
            return 1e300
        case str():
            return "x" * 70_000
        case list():
            return [value[0] if value else "x"] * 300_000
        case dict():
            return {f"k{n}": "v" for n in range(300)}
        case _:
            return None


@pytest.mark.parametrize("example", FIXTURES["up"], ids=lambda e: e["type"])
def test_every_number_and_text_of_every_frame_has_a_bound(example: dict[str, Any]) -> None:
    for name, value in example.items():
        if (
            name in {"type", *_ENUMS}
            or (example["type"], name) in _UNBOUNDED
            or _spoilt(value) is None
        ):
            continue
        if example["type"] == "keys.get" and name == "kind":
            continue  # the store refuses what it cannot have
        with pytest.raises(wire.WireError):
            wire.decode_up(json.dumps(example | {name: _spoilt(value)}).encode())
