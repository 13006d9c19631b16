"""A policy file changes what it may, and nothing that must stay: each thing that is forbidden has
its own case, with the message.
"""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions.model import BadPolicy
from sessions.model import CloseReason as R
from sessions.policy import (
    RULES,
    Action,
    Close,
    Config,
    Credentials,
    Memory,
    Pace,
    Rules,
    as_toml,
    changes,
    decide,
    overridden,
)
from sessions.policy.overrides import KEYS, LEAST_DUEL_SECONDS, LEAST_WAIT_SECONDS, MOST_DUEL_TRIES

ALMOST_ONE = 0.999


def test_an_empty_file_changes_nothing() -> None:
    assert overridden("") == RULES
    assert overridden("# nothing\n[connection_lost]\n") == RULES


def test_only_the_keys_that_are_named_change_and_only_in_their_row() -> None:
    rules = overridden("[connection_lost]\nbase_seconds = 4\ncap_seconds = 60.5\ncounts = 2\n")
    assert rules[R.CONNECTION_LOST] == replace(
        RULES[R.CONNECTION_LOST], base_seconds=4.0, cap_seconds=60.5, counts=2
    )
    assert {reason for reason in R if rules[reason] != RULES[reason]} == {R.CONNECTION_LOST}
    assert changes(rules) == {
        R.CONNECTION_LOST: {
            "base_seconds": (None, 4.0),
            "cap_seconds": (None, 60.5),
            "counts": (1, 2),
        }
    }


def test_a_rows_own_numbers_are_obeyed_whatever_the_settings_say() -> None:
    rules = overridden(
        "[connection_lost]\nbase_seconds = 1\ncap_seconds = 3\nminimum_seconds = 0.5\n"
    )
    waits = _waits(rules, R.CONNECTION_LOST, 4, 0.5, Config(base_seconds=10.0, cap_seconds=100.0))
    assert waits == pytest.approx([0.75, 1.25, 1.75, 1.75])


def test_a_server_row_without_a_base_of_its_own_takes_the_settings_if_that_is_longer() -> None:
    assert _waits(RULES, R.UNAVAILABLE, 1, ALMOST_ONE, Config(base_seconds=20.0)) == [
        pytest.approx(20 * ALMOST_ONE)
    ]
    rules = overridden("[unavailable]\nbase_seconds = 2\n")
    assert _waits(rules, R.UNAVAILABLE, 1, ALMOST_ONE, Config(base_seconds=20.0)) == [
        pytest.approx(2 * ALMOST_ONE)
    ]


def test_another_pace_begins_with_that_paces_numbers() -> None:
    rules = overridden(
        '[unknown_failure]\npace = "common"\n[server_error]\npace = "spread"\n[unavailable]\npace ='
        ' "steps"\n'
    )
    assert _waits(rules, R.UNKNOWN_FAILURE, 2, ALMOST_ONE) == pytest.approx(
        [5 * ALMOST_ONE, 10 * ALMOST_ONE]
    )
    assert _waits(rules, R.SERVER_ERROR, 2, 0.5) == [45.0, 45.0]
    assert _waits(rules, R.UNAVAILABLE, 3, 0.5) == [15.0, 30.0, 60.0]


def test_a_retry_may_become_parking_and_then_says_what_to_do() -> None:
    rules = overridden('[upgrade_refused]\naction = "park"\n[connection_lost]\ntries = 1\n')
    assert (
        decide(Close(reason=R.UPGRADE_REFUSED), Memory(), Config(rules=rules), 0.0, 0.5).action
        is Action.PARK
    )
    assert "wasup sessions reconnect" in rules[R.UPGRADE_REFUSED].human
    assert "wasup sessions reconnect" in rules[R.CONNECTION_LOST].human
    assert (
        "mine"
        in overridden('[upgrade_refused]\naction = "park"\nhuman = "mine"\n')[
            R.UPGRADE_REFUSED
        ].human
    )


def test_fewer_tries_and_longer_waits_of_a_duel_are_allowed() -> None:
    rules = overridden("[replaced]\ntries = 1\nminimum_seconds = 60\ncap_seconds = 120\n")
    memory = Memory()
    first = decide(Close(reason=R.REPLACED), memory, Config(rules=rules), 0.0, 0.5)
    second = decide(Close(reason=R.REPLACED), first.memory, Config(rules=rules), 100.0, 0.5)
    assert (first.wait_seconds, first.rule) == (90.0, "replaced: try 1 of 1, 60 to 120 s apart")
    assert (second.action, second.opens_breaker) == (Action.PARK, True)


FORBIDDEN = [
    # a logout: archived and parked, whatever the file says
    ('[logged_out]\naction = "retry"', '[logged_out] action = "retry": it accepts "park"'),
    ('[logged_out]\naction = "stop"', '[logged_out] action = "stop": it accepts "park"'),
    ('[logged_out]\ncredentials = "delete"', '[logged_out] credentials = "delete": there is no such key'),
    ('[own_logout]\naction = "retry"', '[own_logout] action = "retry": it accepts "stop"'),
    ('[own_logout]\ncredentials = "keep"', '[own_logout] credentials = "keep": there is no such key'),
    ('[connection_lost]\ncredentials = "archive"', '[connection_lost] credentials = "archive": there is no such key'),
    ('[logged_out]\nmend = "reconnect"', '[logged_out] mend = "reconnect": there is no such key'),
    # a conflict: no fight
    ("[replaced]\ntries = 3", "[replaced] tries = 3: it accepts a whole number from 0 to 2"),
    ("[replaced]\nminimum_seconds = 29.9", "[replaced] minimum_seconds = 29.9: it accepts seconds from 30 to 86400"),
    ("[replaced]\ncap_seconds = 10", "[replaced] cap_seconds = 10: it accepts seconds from 30 to 86400"),
    ('[replaced]\npace = "common"', '[replaced] pace = "common": it accepts "spread"'),
    ('[replaced]\npace = "steps"', '[replaced] pace = "steps": it accepts "spread"'),
    ("[replaced]\nopens_breaker = false", "[replaced] opens_breaker = false: there is no such key"),
    ("[replaced]\ncorrelated = true", "[replaced] correlated = true: it accepts false"),
    # bans and what else only a human can mend: no try
    ('[banned]\naction = "retry"', '[banned] action = "retry": it accepts "park"'),
    ('[locked]\naction = "retry"', '[locked] action = "retry": it accepts "park"'),
    ('[temporarily_banned]\naction = "retry"', '[temporarily_banned] action = "retry": it accepts "park"'),
    ('[qr_expired]\naction = "retry"', '[qr_expired] action = "retry": it accepts "park"'),
    ("[banned]\ntries = 5", "[banned] tries = 5: there is no such key"),
    # a version that is rejected holds the fleet
    ('[client_outdated]\naction = "retry"', '[client_outdated] action = "retry": it accepts "hold"'),
    ('[client_outdated]\naction = "park"', '[client_outdated] action = "park": it accepts "hold"'),
    # nobody else may hold it, or stop a session
    ('[connection_lost]\naction = "hold"', '[connection_lost] action = "hold": it accepts "retry" or "park"'),
    ('[connection_lost]\naction = "stop"', '[connection_lost] action = "stop": it accepts "retry" or "park"'),
    # storms
    ("[connection_lost]\nbase_seconds = 0.49", "[connection_lost] base_seconds = 0.49: it accepts seconds from 0.5 to 86400"),
    ("[unavailable]\ncap_seconds = 0.1", "[unavailable] cap_seconds = 0.1: it accepts seconds from 30 to 86400"),
    (
        '[server_error]\npace = "spread"\nminimum_seconds = 0.2',
        "[server_error] minimum_seconds = 0.2: it accepts 5 or more with the pace spread",
    ),
    ("[worker_exited]\nbase_seconds = 0", "[worker_exited] base_seconds = 0: it accepts seconds from 0.5 to 86400"),
    ("[store_failed]\nminimum_seconds = 0", "[store_failed] minimum_seconds = 0: it accepts seconds from 0.5 to 86400"),
    ('[connection_lost]\npace = "at once"', '[connection_lost] pace = "at once": it accepts "common" or "steps" or "spread"'),
    ("[rate_limited]\ncounts = 0", "[rate_limited] counts = 0: it accepts a whole number from 1 to 10"),
    ('[rate_limited]\npace = "spread"', '[rate_limited] pace = "spread": it accepts "common"'),
    ("[rate_limited]\nbase_seconds = 1", "[rate_limited] base_seconds = 1: it accepts seconds from 2 to 86400"),
    ("[repair_needed]\ntries = 11", "[repair_needed] tries = 11: it accepts a whole number from 0 to 10"),
    ("[unknown_failure]\nbase_seconds = 4", "[unknown_failure] base_seconds = 4: it accepts seconds from 5 to 86400"),
    # numbers that Python itself refuses
    (f"[connection_lost]\nminimum_seconds = {'9' * 400}", "[connection_lost] minimum_seconds = 9999"),
    (f"[connection_lost]\ncounts = {'9' * 5000}", "It cannot be read: it has a number of thousands of digits"),
    (f"[connection_lost]\ncounts = 0x{'f' * 5000}", "[connection_lost] counts = a number of thousands of digits"),
    # a pairing needs its 515, and an operator his force
    ('[restart_required]\naction = "park"', '[restart_required] action = "park": it accepts "retry"'),
    ("[restart_required]\ntries = 0", "[restart_required] tries = 0: there is no such key"),
    ("[restart_required]\ncap_seconds = 60", "[restart_required] cap_seconds = 60: it accepts seconds from 0 to 10"),
    ('[requested]\naction = "park"', '[requested] action = "park": it accepts "retry"'),
    ('[store_failed]\naction = "park"', '[store_failed] action = "park": it accepts "retry"'),
    ("[worker_exited]\ncorrelated = true", "[worker_exited] correlated = true: it accepts false"),
    # what is no value of its key
    ("[connection_lost]\nbase_seconds = nan", "[connection_lost] base_seconds = nan: it accepts seconds"),
    ("[connection_lost]\nbase_seconds = inf", "[connection_lost] base_seconds = inf: it accepts seconds"),
    ("[connection_lost]\nbase_seconds = true", "[connection_lost] base_seconds = true: it accepts seconds"),
    ('[connection_lost]\nbase_seconds = "2"', '[connection_lost] base_seconds = "2": it accepts seconds'),
    ("[connection_lost]\ncap_seconds = 86401", "[connection_lost] cap_seconds = 86401: it accepts seconds from 0.5 to 86400"),
    ("[connection_lost]\ncounts = -1", "[connection_lost] counts = -1: it accepts a whole number from 0 to 10"),
    ("[connection_lost]\ncounts = 1.0", "[connection_lost] counts = 1.0: it accepts a whole number"),
    ("[connection_lost]\ncounts = true", "[connection_lost] counts = true: it accepts a whole number"),
    ("[connection_lost]\ncorrelated = 1", "[connection_lost] correlated = 1: it accepts true or false"),
    ('[connection_lost]\nhuman = ""', '[connection_lost] human = "": it accepts a text of 1 to 500 characters'),
    ("[connection_lost.tries]\nmost = 3", "[connection_lost] tries = {'most': 3}: it accepts a whole number"),
    ("[connection_lost]\naction = []", "[connection_lost] action = []: it accepts"),
    # what contradicts itself
    (
        "[connection_lost]\nbase_seconds = 10\ncap_seconds = 5",
        "[connection_lost] base_seconds = 10: it accepts at most the row's cap_seconds (5)",
    ),
    ("[replaced]\nminimum_seconds = 90", "[replaced] minimum_seconds = 90: it accepts at most the row's cap_seconds (60)"),
    (
        '[server_error]\npace = "spread"\nbase_seconds = 5',
        "[server_error] base_seconds = 5: it accepts nothing: the pace spread has no base",
    ),
    # what does not exist
    ("[conection_lost]\ncounts = 1", "[conection_lost]: there is no such row; did you mean connection_lost?"),
    ("[something]\ncounts = 1", "[something]: there is no such row."),
    ("[connection_lost]\nbase_sec = 1", "[connection_lost] base_sec = 1: there is no such key; did you mean base_seconds?"),
    ("connection_lost = 3", "connection_lost = 3: a row is a table: [connection_lost]"),
    ("tries = 3", "[tries]: there is no such row"),
    ("[connection_lost", "It is not TOML:"),
    ("x = " + "[" * 10_000, "It is not TOML:"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"), FORBIDDEN, ids=[text[:50].replace("\n", " ") for text, _ in FORBIDDEN]
)
def test_what_is_forbidden_is_refused_with_row_key_value_and_what_is_accepted(
    text: str, message: str
) -> None:
    with pytest.raises(BadPolicy) as refusal:
        overridden(text)
    assert str(refusal.value).startswith(message)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(BadPolicy) as refusal:
        overridden('[banned]\naction = "retry"\n[replaced]\ntries = 9\ncounts = 99\n[nobody]\n')
    assert len(str(refusal.value).splitlines()) == 4


# --- shown and read again -------------------------------------------------------------------------


def test_the_whole_table_is_shown_and_can_be_read_again() -> None:
    shown = as_toml(Config())
    assert overridden(shown) == RULES
    assert all(f"[{reason}]" in shown for reason in R)
    assert "changed" not in shown.replace("only what it changes", "")


def test_what_is_changed_is_marked_beside_its_default() -> None:
    shown = as_toml(Config(rules=overridden("[replaced]\ntries = 1\n")))
    assert "tries = 1  # changed; the default is 2" in shown
    assert "minimum_seconds = 30.0  # default" in shown


VALUES = {
    "action": st.sampled_from(["retry", "park", "hold", "stop", "delete"]),
    "pace": st.sampled_from([*Pace]).map(str),
    "minimum_seconds": st.floats(0, 100) | st.integers(0, 100),
    "base_seconds": st.floats(0, 1000),
    "cap_seconds": st.floats(0, 90_000),
    "counts": st.integers(-1, 12),
    "tries": st.integers(0, 5),
    "correlated": st.booleans(),
    "human": st.text('aé"\\\n\x7f\t', min_size=1, max_size=8),
}
files = st.dictionaries(
    st.sampled_from([*R]),
    st.fixed_dictionaries({}, optional=VALUES),
    max_size=3,
)


@given(files)
def test_no_file_that_is_accepted_breaks_what_must_stay(file: dict[R, dict[str, object]]) -> None:
    try:
        rules = overridden(_toml(file))
    except BadPolicy:
        return
    assert overridden(as_toml(Config(rules=rules))) == rules, "what is shown can be read again"
    config = Config(rules=rules)
    for reason in (R.LOGGED_OUT, R.BANNED, R.LOCKED, R.TEMPORARILY_BANNED, R.QR_EXPIRED):
        assert decide(Close(reason=reason), Memory(), config, 0.0, 0.5).action is Action.PARK
    assert rules[R.CLIENT_OUTDATED].action is Action.HOLD
    for reason in R:
        assert rules[reason].credentials is RULES[reason].credentials
        assert rules[reason].mend is RULES[reason].mend
    assert rules[R.LOGGED_OUT].credentials is Credentials.ARCHIVE
    duel = _waits(rules, R.REPLACED, 4, 0.0)
    assert len([wait for wait in duel if wait is not None]) <= MOST_DUEL_TRIES
    assert all(wait is None or wait >= LEAST_DUEL_SECONDS for wait in duel)
    for reason in R:
        if rules[reason].correlated:
            for wait in _waits(rules, reason, 3, ALMOST_ONE):
                assert wait is None or wait >= LEAST_WAIT_SECONDS * ALMOST_ONE


def test_every_row_accepts_what_is_its_default() -> None:
    assert set(KEYS) == set(R)


def _toml(file: dict[R, dict[str, object]]) -> str:
    return "\n".join(
        f"[{reason}]\n"
        + "\n".join(
            f"{key} = {json.dumps(value)}".replace("\x7f", "\\u007f") for key, value in row.items()
        )
        for reason, row in file.items()
    )


def _waits(
    rules: Rules, reason: R, closes: int, roll: float, config: Config | None = None
) -> list[float | None]:
    memory, waits = Memory(), []
    config = replace(config or Config(), rules=rules)
    for number in range(closes):
        decision = decide(Close(reason=reason), memory, config, float(number), roll)
        memory = decision.memory
        waits.append(decision.wait_seconds)
    return waits
