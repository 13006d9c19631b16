"""Acceptance 4: for every close reason and every state the operator's three questions are answered,
and as docs/close-reasons.md says.
"""

import re
from dataclasses import replace

import msgspec
import pytest

from scripts.generate_docs import ROOT
from sessions import policy
from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import SessionId
from sessions.model import SessionState as S
from sessions.policy import COVERED, RULES, Action, Budget, Close, LastClose, Memory, Rules, decide
from sessions.policy.breaker import Breaker
from sessions.records import incidents
from sessions.records.incidents import Incident, RecordedClose, Span, Summary
from sessions.views import explanations, session_view
from sessions.views.explanations import TEXTS, Explanation, Outage, Standing, duration, explain
from sessions.views.session_view import BreakerSnapshot, Reconnection, human_action
from sessions.views.times import iso
from supervisor.cli.watch_commands.explain import lines, wrapped
from tests.fakes import World, closes

NOW = 1_700_000_000.0
SHOP = SessionId("shop-1")
NO_FIGURES = Summary(None, None, None, None, 0)
DOCS = (ROOT / "docs" / "close-reasons.md").read_text(encoding="utf-8")


def standing(
    state: S,
    reason: R | None = None,
    next_in: float | None = None,
    outage: Outage | None = None,
    rule: str = "the rule",
    breaker: str = "closed",
    paired: bool = True,
    opens_in: float | None = None,
    rules: Rules = RULES,
) -> Standing:
    last = None
    if reason is not None:
        human = RULES[reason].human.replace("{id}", SHOP)
        last = LastClose(reason, 499, "the message", rule, human, NOW - 10)
    shown = Reconnection(
        state=state,
        since=iso(NOW - 10),
        close_reason=reason,
        close_code=None if last is None else last.code,
        close_message=None if last is None else last.message,
        closed_at=None if last is None else iso(NOW - 10),
        rule=None if last is None else last.rule,
        attempts=1,
        failures=1,
        next_attempt_at=None if next_in is None else iso(NOW + next_in),
        breaker=BreakerSnapshot(breaker, 0, None if opens_in is None else iso(NOW + opens_in)),
        human_action=human_action(SHOP, state, last),
    )
    return Standing(
        id=SHOP,
        wanted=state is not S.STOPPED,
        ever_paired=paired,
        reconnection=shown,
        budget=Budget(3, 200),
        outage=outage,
        rules=rules,
    )


def story(
    reason: R, rule: str, wait: float | None, ending: incidents.Ending | None
) -> list[Incident]:
    close = RecordedClose(
        at=NOW - 10,
        reason=reason,
        code=499,
        message="the message",
        was_open=True,
        rule=rule,
        wait_seconds=wait,
    )
    incident = incidents.closed(None, SHOP, close, RULES[reason].human.replace("{id}", SHOP))
    assert incident is not None
    return [incident if ending is None else incidents.ended(incident, NOW - 10, ending)]


def screen(told: Explanation) -> str:
    return "\n".join(lines(msgspec.to_builtins(told), None))


# --- every close reason ---------------------------------------------------------------------------

RESTS = {
    Action.PARK: S.PARKED,
    Action.DONE: S.STOPPED,
    Action.HOLD: S.HELD,
    Action.RETRY: S.WAITING,
}


def table() -> dict[str, list[str]]:
    """The rows of the documents' table by their first cell."""
    rows = [line.strip("| ").split(" | ") for line in DOCS.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row for row in rows[: len(R)]}


@pytest.mark.parametrize("reason", R)
@pytest.mark.parametrize("tries", [1, 9], ids=["at first", "after its tries"])
def test_the_three_questions_are_answered_for_every_close_reason_as_the_documents_say(
    reason: R, tries: int
) -> None:
    """The real policy decides, the explanation is compared with the page that an operator reads."""
    memory = Memory(tries={reason: tries - 1})
    decision = decide(Close(reason=reason, was_open=True), memory, policy.Config(), 0.0, 0.5)
    state = RESTS[decision.action]
    due = decision.wait_seconds if state in {S.WAITING, S.PARKED} else None
    now = standing(state, reason, due, rule=decision.rule)
    told = explain(
        now, story(reason, decision.rule, due, incidents.ending_of(state)), NO_FIGURES, NOW
    )
    _, wire, why, does, human = table()[reason]

    if state is not S.HELD:
        assert told.why == why or reason is R.OWN_LOGOUT
    assert why in told.why
    assert told.timeline[0].why == why
    assert told.human_action
    if state in {S.WAITING, S.PARKED, S.HELD}:
        assert told.human_action == human.replace("{id}", SHOP)
    assert all((human, wire, does))

    if due is not None:
        assert told.when_next == iso(NOW + due)
        assert duration(due) in told.when_next_words or (due < 1 and told.when_next_words == "now")
    else:
        assert told.when_next is None
        assert told.when_next_words.startswith(("when ", "as soon as "))
    if state is S.PARKED:
        until = TEXTS[reason].until
        assert until is not None, "what can be parked says what it waits for"
        assert f"| `{reason}` | {until} |" in DOCS
        assert told.when_next_words.startswith("when the ban ends" if due is not None else until)
    seen = screen(told)
    for answer in (
        told.why,
        told.when_next_words,
        told.human_action,
        decision.rule,
        f"{reason}: 499 the message",
    ):
        assert answer in seen
    assert "{id}" not in seen


def test_every_reason_has_a_text_and_nobody_is_parked_without_a_word_on_what_ends_it() -> None:
    assert set(TEXTS) == set(R)
    assert list(table()) == list(R)
    parks = {
        reason
        for reason, rule in RULES.items()
        if rule.action in {Action.PARK, Action.DONE} or rule.tries is not None
    }
    assert {reason for reason, text in TEXTS.items() if text.until} == parks


@pytest.mark.parametrize("reason", R)
def test_a_reason_explains_itself_also_when_a_policy_file_parks_it(reason: R) -> None:
    told = explain(
        standing(S.PARKED, reason), story(reason, "parked", None, "parked"), NO_FIGURES, NOW
    )
    assert told.why == TEXTS[reason].why
    assert told.when_next_words.startswith("when ")


# --- every state ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize("paired", [True, False], ids=["paired", "never paired"])
def test_every_state_reads_well_without_any_incident(state: S, paired: bool) -> None:
    told = explain(standing(state, paired=paired, outage=None), [], NO_FIGURES, NOW)
    assert told.why.startswith(
        explanations.ERROR_OF_OURS if state is S.WAITING else explanations.STATES[state]
    )
    assert f"| `{state}` | {explanations.STATES[state]} | {told.when_next_words} |" in DOCS
    assert told.human_action
    assert told.when_next is None
    seen = screen(told)
    assert "No incident is on record." in seen
    assert "nothing to say yet" in seen
    assert "None" not in seen


def test_open_again_it_says_what_was() -> None:
    told = explain(
        standing(S.OPEN, R.UNAVAILABLE), story(R.UNAVAILABLE, "r", 1.0, "open"), NO_FIGURES, NOW
    )
    assert (
        told.why
        == "It is open and answers. The last time it was away: WhatsApp's service is not available"
        " just now."
    )
    assert (told.human_action, told.when_next, told.timeline[0].human_action) == (
        "Nothing.",
        None,
        "Nothing.",
    )


def test_a_wait_names_its_time_and_an_open_breaker() -> None:
    past = story(R.CONNECTION_LOST, "r", 312.4, None)
    told = explain(
        standing(S.WAITING, R.CONNECTION_LOST, 312.4, breaker="open", opens_in=312.4),
        past,
        NO_FIGURES,
        NOW,
    )
    assert told.why == TEXTS[R.CONNECTION_LOST].why
    assert told.when_next == iso(NOW + 312.4)
    assert told.when_next_words == "in 5 min 12 s (its circuit breaker is open until then)"
    assert (
        explain(standing(S.WAITING, R.CONNECTION_LOST, 0.3), [], NO_FIGURES, NOW).when_next_words
        == "now"
    )


def test_a_wait_longer_than_the_breakers_is_not_said_to_be_the_breakers() -> None:
    now = standing(S.WAITING, R.RATE_LIMITED, 900.0, breaker="open", opens_in=600.0)
    told = explain(now, story(R.RATE_LIMITED, "r", 900.0, None), NO_FIGURES, NOW)
    assert told.when_next_words == "in 15 min"


def test_stopped_and_started_with_an_open_breaker_it_says_so_and_why_it_was_closed() -> None:
    now = standing(S.WAITING, R.CONNECTION_LOST, 500.0, breaker="open", opens_in=500.0)
    told = explain(now, story(R.CONNECTION_LOST, "r", 1.0, "stopped"), NO_FIGURES, NOW)
    assert told.why.startswith(explanations.BREAKER_OPEN)
    assert "connection went dead" in told.why
    alone = explain(
        standing(S.WAITING, None, 500.0, breaker="open", opens_in=500.0), [], NO_FIGURES, NOW
    )
    assert alone.why == explanations.BREAKER_OPEN


def test_open_again_after_a_force_it_says_that_somebody_asked_and_not_what_closed_it_long_before() -> (
    None
):
    told = explain(
        standing(S.OPEN, R.CONNECTION_LOST), story(R.REQUESTED, "r", 0.0, "open"), NO_FIGURES, NOW
    )
    assert told.why.endswith("asked for it.")
    forced = explain(
        standing(S.CONNECTING, R.CONNECTION_LOST),
        story(R.REQUESTED, "r", 0.0, None),
        NO_FIGURES,
        NOW,
    )
    assert forced.why.startswith(TEXTS[R.REQUESTED].why)


def test_a_force_hides_nothing_of_what_the_session_was_away_for() -> None:
    (lost,) = story(R.CONNECTION_LOST, "r", 0.0, None)
    asked = incidents.closed(lost, SHOP, RecordedClose(at=NOW, reason=R.REQUESTED), "")
    assert asked is not None
    told = explain(standing(S.CONNECTING, R.CONNECTION_LOST), [asked], NO_FIGURES, NOW)
    assert told.why.startswith(TEXTS[R.CONNECTION_LOST].why)


def outage(**more: object) -> Outage:
    given = {
        "reason": "outage",
        "words": "9 sessions are held.",
        "canary": None,
        "next_canary_in_seconds": 8.0,
        "back_in_seconds": 48.0,
    }
    return Outage(**given | more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (
            outage(),
            (
                "when the canary of the outage succeeds, next canary in 8 s; your turn at most"
                " about 40 s later"
            ),
        ),
        (
            outage(canary="shop-2", next_canary_in_seconds=None),
            (
                "when the canary of the outage succeeds, another session tries right now; your turn at most"
                " about 48 s later"
            ),
        ),
        (
            outage(canary=SHOP, next_canary_in_seconds=None),
            "now: it is the canary of the outage, and its success releases all",
        ),
    ],
)
def test_held_in_an_outage_it_says_whose_try_it_waits_for(held: Outage, words: str) -> None:
    told = explain(standing(S.HELD, R.CONNECTION_LOST, outage=held), [], NO_FIGURES, NOW)
    assert (told.why, told.outage, told.when_next_words) == (held.words, held.words, words)
    assert told.when_next == iso(NOW + 48)
    assert told.human_action == explanations.OUTAGE_DO


def test_a_hold_for_a_close_reason_says_what_that_reason_asks_for() -> None:
    held = outage(reason="client_outdated", words="client version rejected")
    told = explain(standing(S.HELD, R.CONNECTION_LOST, outage=held), [], NO_FIGURES, NOW)
    assert told.human_action == RULES[R.CLIENT_OUTDATED].human
    rules = {
        **RULES,
        R.CLIENT_OUTDATED: replace(RULES[R.CLIENT_OUTDATED], human="Call Ana about {id}."),
    }
    told = explain(
        standing(S.HELD, R.CONNECTION_LOST, outage=held, rules=rules), [], NO_FIGURES, NOW
    )
    assert told.human_action == f"Call Ana about {SHOP}."


def test_a_wait_of_its_own_is_not_the_outages_and_a_human_is_still_needed() -> None:
    past = story(R.REPLACED, "r", 45.0, None)
    told, without = (
        explain(standing(S.WAITING, R.REPLACED, 45.0, outage=each), past, NO_FIGURES, NOW)
        for each in (outage(), None)
    )
    assert told == without
    assert told.why == TEXTS[R.REPLACED].why
    held = explain(standing(S.HELD, R.REPLACED, outage=outage()), past, NO_FIGURES, NOW)
    assert held.why == f"{TEXTS[R.REPLACED].why} 9 sessions are held."
    assert held.human_action == RULES[R.REPLACED].human.replace("{id}", SHOP)
    assert held.when_next_words.startswith("when the canary of the outage succeeds")


def test_what_an_outage_covers_is_spoken_of_as_held_once_it_is_in_the_gate_or_excused() -> None:
    past = story(R.CONNECTION_LOST, "r", 9.0, None)
    alone = explain(
        standing(S.WAITING, R.CONNECTION_LOST, 9.0, outage=outage()), past, NO_FIGURES, NOW
    )
    assert (alone.outage, alone.why) == (None, TEXTS[R.CONNECTION_LOST].why)
    excused = standing(S.WAITING, R.CONNECTION_LOST, 0.0, outage=outage(), rule=COVERED)
    for now in (standing(S.HELD, R.CONNECTION_LOST, outage=outage()), excused):
        told = explain(now, past, NO_FIGURES, NOW)
        assert (told.outage, told.why, told.human_action) == (
            outage().words,
            outage().words,
            explanations.OUTAGE_DO,
        )


@pytest.mark.parametrize("state", [S.OPEN, S.PARKED, S.STOPPED, S.QUARANTINED, S.QR])
def test_an_outage_says_nothing_of_a_session_that_it_does_not_keep_from_anything(state: S) -> None:
    told, without = (
        explain(standing(state, R.BANNED, outage=each), [], NO_FIGURES, NOW)
        for each in (outage(), None)
    )
    assert told == without


def test_paired_again_after_a_logout_it_still_says_why() -> None:
    told = explain(
        standing(S.QR, R.LOGGED_OUT), story(R.LOGGED_OUT, "parked", None, "parked"), NO_FIGURES, NOW
    )
    assert told.why == f"{TEXTS[R.LOGGED_OUT].why} {explanations.STATES[S.QR]}"
    assert told.human_action.startswith("Scan the QR")


def test_an_error_of_our_own_is_not_blamed_on_a_close_of_the_past() -> None:
    told = explain(
        standing(S.WAITING, R.BANNED, 5), story(R.BANNED, "r", None, "open"), NO_FIGURES, NOW
    )
    assert told.why == explanations.ERROR_OF_OURS


# --- the screen -----------------------------------------------------------------------------------


def test_the_screen_of_a_tired_operator() -> None:
    ended = incidents.ended(
        story(R.CONNECTION_LOST, "first try, almost at once", 0.3, None)[0], NOW + 2, "open"
    )
    figures = incidents.summary([Span(NOW - 100_000, None, "open")], [ended] * 30, NOW + 5)
    told = explain(standing(S.OPEN, R.CONNECTION_LOST), [ended] * 30, figures, NOW + 5)
    seen = list(lines(msgspec.to_builtins(told), 2))
    assert seen[:6] == [
        "shop-1 is OPEN, for 15 s (since 2023-11-14 22:13:10 UTC)",
        "",
        (
            "  Why:         It is open and answers. The last time it was away: the connection went"
            " dead: nothing came through any more."
        ),
        "  When next:   it is open; nothing is due",
        "  What to do:  Nothing.",
        "",
    ]
    assert seen[6].startswith(
        "  Available: 100 % of the last 24 h, 100 % of 7 d (of the time that it was wanted; on"
        " record since"
    )
    assert (
        seen[7]
        == "  Came back 30 times in 24 h, back after 12 s on average. Logins: 3 of 200 a day."
    )
    assert seen[9] == "  Last incidents (newest first, times in UTC; 2 of 20, --all shows more):"
    assert seen[10:12] == [
        "  2023-11-14 22:13:10  back, away 12 s  connection_lost: 499 the message",
        "      first try, almost at once; 0 tries; waited 0.3 s",
    ]


def test_on_a_terminal_long_lines_are_broken_below_where_their_text_begins() -> None:
    assert wrapped("  Why:         one two three four five", 32).splitlines() == [
        "  Why:         one two three",
        "               four five",
    ]
    assert wrapped("      first try; waited", 17).splitlines() == [
        "      first try;",
        "      waited",
    ]
    assert wrapped("", 20) == ""


def test_availability_is_never_rounded_up() -> None:
    figures = Summary(0.9999999, 0.5, NOW - 5, None, 0)
    told = explain(standing(S.OPEN), [], figures, NOW)
    assert "99.999 % of the last 24 h, 50 % of 7 d" in screen(told)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (0.34, "0.3 s"),
        (12, "12 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (86400 * 3 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_an_incident_of_a_reason_of_another_version_is_told_all_the_same() -> None:
    old = Incident(
        session=SHOP, began_at=NOW - 5, reason="of_the_past", message="what it said", human="h"
    )
    told = explanations.entry(old, NOW)
    assert (told.why, told.cause_on_the_wire, told.cost_seconds, told.ending) == (
        "what it said",
        "of_the_past: what it said",
        5.0,
        "under way",
    )


def test_the_breaker_is_shown_as_it_is() -> None:
    assert BreakerSnapshot.of(Breaker(5, 600.0), 0.0).state == "closed"
    assert iso(NOW).endswith("Z")


def test_the_rule_shown_says_until_when_the_breaker_puts_the_try_off() -> None:
    last = LastClose(R.CONNECTION_LOST, None, "", "try 5 of 10, up to 32 s", "", NOW)
    breaker = Breaker(1, 600.0)
    assert session_view.rule_shown(last, 20.0, breaker, 0.0) == last.rule
    breaker.failed(10.0)
    shown = session_view.rule_shown(last, 610.0, breaker, 10.0)
    assert shown is not None
    assert re.fullmatch(
        r"try 5 of 10, up to 32 s; breaker open until [0-9]{2}:[0-9]{2}:[0-9]{2} UTC, then one"
        r" trial",
        shown,
    )
    assert session_view.rule_shown(last, 900.0, breaker, 10.0) == last.rule, (
        "it waits for longer than the breaker"
    )
    assert session_view.rule_shown(last, None, breaker, 10.0) == last.rule
    assert session_view.rule_shown(None, 610.0, breaker, 10.0) is None


@pytest.mark.looptime(noop_cycles=6)
@pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step")
async def test_a_session_whose_breaker_is_open_says_so_beside_its_rule_also_after_stop_and_start() -> (
    None
):
    async with World() as world:
        world.paired()
        world.workers.otherwise = closes(R.CONNECTION_LOST)
        await world.start()
        await world.until_true(lambda: world.session.reconnection().breaker.state == "open")
        await world.until(S.WAITING)
        until = world.session.reconnection().breaker.opens_until
        assert until is not None
        words = f"; breaker open until {until[11:19]} UTC, then one trial"
        assert (world.session.reconnection().rule or "").endswith(words)
        await world.ask(Command.STOP)
        assert "breaker" not in (world.session.reconnection().rule or "")
        await world.ask(Command.START)
        shown, incident = world.session.reconnection(), world.session.incident()
        assert (shown.rule or "").endswith(words)
        assert incident is not None
        now = Standing(
            id=SHOP,
            wanted=True,
            ever_paired=True,
            reconnection=shown,
            budget=Budget(1, 2),
            outage=None,
        )
        assert explanations.why(now, [incident]).startswith(explanations.BREAKER_OPEN)


def test_while_the_one_try_after_a_401_is_due_nobody_is_told_to_pair_again() -> None:
    human = RULES[R.LOGGED_OUT].human
    last = LastClose(R.LOGGED_OUT, 401, "conflict", "one probe", human, NOW)
    assert human_action(SessionId("shop"), S.PARKED, last) == human
    for state in (S.WAITING, S.HELD):
        told = human_action(SessionId("shop"), state, last)
        assert told.startswith("Nothing yet:")
        assert "One try makes sure" in told


def test_availability_that_no_incident_explains_is_explained() -> None:
    told = msgspec.to_builtins(
        explain(
            standing(S.OPEN),
            [],
            Summary(
                day=0.498, week=0.498, since=NOW - 100, mttr_seconds=None, reconnects_of_the_day=0
            ),
            NOW,
        )
    )
    assert any("time without a supervisor" in line for line in lines(told, None))
