"""Who is told of what, and when: grouped, once, its end to those who had its begin, and never late
for somebody else's sake.
"""

from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from sessions.model import SessionId
from supervisor.alerts.alerts import Alert
from supervisor.alerts.hours import Hours
from supervisor.alerts.ledger import InvalidSilence
from supervisor.alerts.muting import Outages
from supervisor.alerts.notices import Notice, Recipient
from tests.unit.alerts.story import MONDAY_NOON, SHOP, Heard, Rows, Story, refused

HOUR = 3600.0


async def test_one_message_when_it_begins_and_one_when_it_is_over() -> None:
    story = await Story().begin()
    story.alerts.begin(None, "cpu", "cpu is 95%")
    await story.passes(20)
    assert story.told == [], "others of its kind may come with it"
    await story.passes(HOUR)
    assert story.told == ["[warning] The CPU is busy"]
    story.alerts.end(None, "cpu", "cpu is 10%")
    await story.passes(HOUR)
    assert story.told == ["[warning] The CPU is busy", "[over] The CPU is busy"]
    assert story.mail.notices[-1].ended[0].message == "cpu is 10%"


async def test_what_begins_and_ends_before_anybody_was_told_stays_untold() -> None:
    story = await Story().begin()
    story.alerts.begin(None, "cpu", "cpu is 95%")
    await story.passes(20)
    story.alerts.end(None, "cpu", "cpu is 10%")
    await story.passes(HOUR)
    assert story.told == []


async def test_two_hundred_sessions_are_one_message() -> None:
    story = await Story().begin()
    for number in range(214):
        story.alerts.begin(SessionId(f"s{number}"), "down", "It is down.", "critical")
    await story.passes(60)
    assert story.told == ["[critical] 214 sessions have been down for long"]
    for number in range(214):
        story.alerts.end(SessionId(f"s{number}"), "down", "It is open.")
    await story.passes(120)
    assert len(story.told) == 2
    assert len(story.mail.notices[-1].ended) == 214
    await story.passes(120)
    assert len(story.told) == 2


async def test_those_that_come_later_are_told_together_after_a_while() -> None:
    story = await Story().begin()
    for number in range(20):
        story.alerts.begin(SessionId(f"s{number}"), "down", "It is down.", "critical")
        await story.passes(30)
    assert [len(notice.new) for notice in story.mail.notices] == [1, 10]
    assert len(story.mail.notices[1].goes_on) == 1


async def test_what_becomes_worse_is_told_at_once() -> None:
    story = await Story().begin()
    story.alerts.begin(None, "disk_space", "86%", "warning")
    await story.passes(60)
    story.alerts.begin(None, "disk_space", "96%", "critical")
    await story.passes(5)
    assert story.told == ["[warning] A disk is nearly full", "[critical] A disk is nearly full"]


async def test_what_lasts_is_told_again_until_somebody_says_that_he_cares() -> None:
    story = await Story().begin()
    story.alerts.begin(SHOP, "parked", "Pair it.", "critical")
    await story.passes(9 * HOUR, 30)
    assert story.told == [
        "[critical] Session shop is parked",
        "[critical, still] Session shop is parked",
        "[critical, still] Session shop is parked",
    ]
    story.notifier.ledger.acknowledge(story.alerts.active()[0], "Ana", "I look")
    await story.passes(20 * HOUR, 30)
    assert len(story.told) == 3
    story.alerts.end(SHOP, "parked", "It is open.")
    await story.passes(60)
    assert story.notifier.ledger.acknowledgements() == {}, "it ends with the alert"
    story.alerts.begin(SHOP, "parked", "Pair it.", "critical")
    await story.passes(5 * HOUR, 30)
    assert story.told[3:] == [
        "[over] Session shop is parked",
        "[critical] Session shop is parked",
        "[critical, still] Session shop is parked",
    ]


async def test_the_end_reaches_exactly_those_who_had_the_begin_also_after_a_restart() -> None:
    mail, chat = Heard("mail"), Heard("chat")
    chat.fails = refused()
    story = await Story().begin(Recipient(channel=mail), Recipient(channel=chat))
    story.alerts.begin(SHOP, "parked", "Pair it.", "critical")
    await story.passes(60)
    assert (len(mail.notices), len(chat.notices)) == (1, 0)
    told = mail.notices[0].new[0]

    chat.fails = None
    after = await Story(story.rows, story.now + 30).begin(
        Recipient(channel=mail), Recipient(channel=chat)
    )
    await after.passes(60)
    assert len(mail.notices) == 1, "nobody knows yet whether it goes on"
    after.alerts.begin(SHOP, "parked", "Pair it.", "critical")
    assert (after.alerts.active()[0].id, after.alerts.active()[0].began_at) == (
        told.id,
        told.began_at,
    )
    after.alerts.end(SHOP, "parked", "It is open.")
    await after.passes(60)
    assert [notice.is_over for notice in mail.notices] == [False, True]
    assert chat.notices == []


async def test_what_ended_while_nobody_ran_is_told_when_that_is_sure() -> None:
    story = await Story().begin()
    story.alerts.begin(None, "cpu", "cpu is 95%")
    await story.passes(60)
    after = await Story(story.rows, story.now + 60).begin()
    await after.passes(290)
    assert after.told == []
    await after.passes(60)
    assert after.told == ["[over] The CPU is busy"]
    await after.passes(HOUR)
    assert len(after.told) == 1


async def test_a_channel_that_fails_is_told_how_things_are_when_it_works_again() -> None:
    story = await Story().begin()
    story.mail.fails = refused("connection refused")
    story.alerts.begin(None, "cpu", "cpu is 95%")
    await story.passes(60)
    story.alerts.begin(None, "memory", "memory is 95%")
    story.alerts.end(None, "cpu", "cpu is 10%")
    await story.passes(60)
    (status,) = story.notifier.channels()
    assert (status.last_error, status.failing_since_at is not None) == ("connection refused", True)
    story.mail.fails = None
    await story.passes(600)
    assert story.told == ["[warning] Memory is short"], "what is over by now is not told"
    (status,) = story.notifier.channels()
    assert (status.last_error, status.failing_since_at, status.told) == (None, None, 1)


async def test_a_channel_that_fails_for_long_is_an_alert_on_the_others() -> None:
    mail, chat = Heard("mail"), Heard("chat")
    chat.fails = ValueError("our own")
    story = await Story().begin(Recipient(channel=mail), Recipient(channel=chat))
    story.alerts.begin(None, "cpu", "cpu is 95%")
    await story.passes(900)
    assert mail.subjects == ["[warning] The CPU is busy", "[warning] Alerts do not reach chat"]
    chat.fails = None
    await story.passes(900)
    assert chat.subjects == ["[warning] The CPU is busy"]
    assert mail.subjects[2:] == ["[over] Alerts do not reach chat"]


async def test_a_channel_whose_settings_are_wrong_is_not_tried_again_and_again() -> None:
    story = await Story().begin()
    tries = 0

    async def send(_: Notice) -> None:
        nonlocal tries
        tries += 1
        raise refused(permanent=True)

    story.mail.send = send  # type: ignore[method-assign]
    story.alerts.begin(None, "cpu", "cpu is 95%")
    await story.passes(HOUR / 2)
    assert tries == 1
    assert [alert.name for alert in story.alerts.active()] == ["cpu", "channel_failing"]
    story.notifier.follow([Recipient(channel=story.mail)])
    await story.passes(10)
    assert tries == 2, "its settings were changed"


async def test_an_outage_explains_its_sessions() -> None:
    story = await Story().begin()
    story.alerts.begin(None, "outage", "Held: the fleet.", "critical", 214.0, about="fleet")
    story.outages = Outages(everything=True)
    for number in range(214):
        story.alerts.begin(SessionId(f"s{number}"), "down", "It is down.", "critical")
        story.alerts.begin(SessionId(f"s{number}"), "breaker_open", "It is open.")
    story.alerts.begin(SHOP, "parked", "Pair it.", "critical", cause="logged_out")
    await story.passes(HOUR)
    assert sorted(story.told) == [
        "[critical] Outage: 214 sessions down",
        "[critical] Session shop was logged out",
    ]
    story.alerts.end(None, "outage", "Released after 1 h.", 214.0, about="fleet")
    story.outages = Outages()
    await story.passes(60)
    for number in range(213):
        story.alerts.end(SessionId(f"s{number}"), "down", "It is open.")
        story.alerts.end(SessionId(f"s{number}"), "breaker_open", "It is open.")
    await story.passes(HOUR)
    assert story.told[2:] == [
        "[over] Outage: 214 sessions down",
        "[critical] Session s213 has been down for long",
        "[warning] Session s213 fails again and again",
    ], "what does not come back with the others is its own trouble"


async def test_an_outage_of_some_explains_only_theirs() -> None:
    story = await Story().begin()
    story.outages = Outages(sessions=frozenset({SHOP}))
    story.alerts.begin(SHOP, "down", "It is down.", "critical")
    story.alerts.begin(SessionId("other"), "down", "It is down.", "critical")
    await story.passes(60)
    assert story.told == ["[critical] Session other has been down for long"]


async def test_what_is_silenced_is_told_when_the_silence_ends_if_it_is_still_on() -> None:
    story = await Story().begin()
    ledger = story.notifier.ledger
    ledger.silence(["down"], ["sh*"], None, story.now + HOUR, "moving", "Ana")
    story.alerts.begin(SHOP, "down", "It is down.", "critical")
    story.alerts.begin(SessionId("other"), "down", "It is down.", "critical")
    story.alerts.begin(SHOP, "parked", "Pair it.", "critical")
    await story.passes(HOUR - 60)
    assert sorted(story.told) == [
        "[critical] Session other has been down for long",
        "[critical] Session shop is parked",
    ]
    await story.passes(120)
    assert story.told[2:] == ["[critical] 2 sessions have been down for long"] or (
        story.told[2:] == ["[critical] Session shop has been down for long"]
    )
    assert ledger.silences() == []


async def test_the_end_is_told_though_it_was_silenced_meanwhile() -> None:
    story = await Story().begin()
    story.alerts.begin(SHOP, "down", "It is down.", "critical")
    await story.passes(60)
    story.notifier.ledger.silence([], [], None, story.now + HOUR, "", "Ana")
    story.alerts.end(SHOP, "down", "It is open.")
    await story.passes(120)
    assert story.told[-1] == "[over] Session shop has been down for long"


async def test_a_silence_may_lie_ahead_and_survives_a_restart() -> None:
    story = await Story().begin()
    ledger = story.notifier.ledger
    made = ledger.silence([], [], story.now + HOUR, story.now + 2 * HOUR, "night work", "Ana")
    story.alerts.begin(None, "cpu", "cpu is 95%")
    await story.passes(60)
    assert len(story.told) == 1
    after = await Story(story.rows, story.now + HOUR).begin()
    after.alerts.begin(None, "memory", "memory is 95%")
    await after.passes(120)
    assert after.told == []
    after.notifier.ledger.end_silence(made.id)
    await after.passes(60)
    assert after.told == ["[warning] Memory is short"]


@pytest.mark.parametrize(("starts", "ends"), [(None, -1.0), (100.0, 100.0), (None, 400 * 86400.0)])
async def test_a_silence_that_cannot_be_is_refused(starts: float | None, ends: float) -> None:
    story = await Story().begin()
    at = None if starts is None else story.now + starts
    with pytest.raises(InvalidSilence) as told:
        story.notifier.ledger.silence([], [], at, story.now + ends, "", "Ana")
    assert told.value.hint


NIGHT = Hours.parse("22:00-07:00")
UTC = ZoneInfo("UTC")


async def test_quiet_hours_hold_warnings_and_summarise_them_in_the_morning() -> None:
    story = await Story(quiet=NIGHT, zone=UTC).begin()
    await story.passes(10 * HOUR + 60, 60)
    story.alerts.begin(None, "cpu", "cpu is 95%")
    story.alerts.begin(None, "memory", "memory is 95%")
    story.alerts.begin(SHOP, "parked", "Pair it.", "critical")
    await story.passes(HOUR, 30)
    assert story.told == ["[critical] Session shop is parked"], "critical passes"
    story.alerts.end(None, "cpu", "cpu is 10%")
    await story.passes(9 * HOUR, 60)
    assert (
        story.told[1:]
        == [
            "[critical, still] Session shop is parked",
            "[critical, still] Session shop is parked",
            "[warning] While it was quiet: 1 on, 1 over",
        ]
        or story.told[-1] == "[warning] While it was quiet: 1 on, 1 over"
    )
    (summary,) = [one for one in story.mail.notices if one.group == "summary"]
    assert [alert.name for alert in summary.new] == ["memory"]
    assert [(alert.name, alert.message) for alert in summary.passed] == [("cpu", "cpu is 10%")]
    story.alerts.end(None, "memory", "memory is 10%")
    await story.passes(300)
    assert story.told[-1] == "[over] Memory is short"


async def test_a_maintenance_window_holds_everything_and_tells_what_is_left() -> None:
    story = await Story(windows=Hours.parse("mon 12:00-13:00"), zone=UTC).begin()
    story.alerts.begin(SHOP, "parked", "Pair it.", "critical")
    story.alerts.begin(None, "cpu", "cpu is 95%")
    await story.passes(HOUR / 2)
    story.alerts.end(None, "cpu", "cpu is 10%")
    await story.passes(HOUR)
    assert story.told == ["[critical] While it was quiet: 1 on, 1 over"]


async def test_a_channels_own_hours_and_severities() -> None:
    night, loud = Heard("night"), Heard("loud")
    story = await Story(zone=UTC).begin(
        Recipient(channel=night, hours="22:00-23:00"),
        Recipient(channel=loud, severities=frozenset({"critical"})),
    )
    story.alerts.begin(None, "cpu", "cpu is 95%")
    story.alerts.begin(SHOP, "parked", "Pair it.", "critical")
    await story.passes(120)
    assert night.subjects == loud.subjects == ["[critical] Session shop is parked"]
    await story.passes(10 * HOUR, 60)
    assert "[warning] While it was quiet: 1 on, 0 over" in night.subjects


async def test_what_comes_and_goes_is_one_alert() -> None:
    story = await Story().begin()
    for _ in range(30):
        story.alerts.begin(None, "cpu", "cpu is 95%")
        await story.passes(15)
        story.alerts.end(None, "cpu", "cpu is 10%")
        await story.passes(15)
    assert story.told == ["[warning] The CPU is busy"]
    (told,) = story.mail.notices
    assert list(told.flapping.values()) == [5]
    assert story.notifier.flapping() == {"\0cpu\0": 30}
    await story.passes(HOUR)
    assert story.told == ["[warning] The CPU is busy", "[over] The CPU is busy"]


async def test_a_deleted_session_does_not_come_and_go_any_more() -> None:
    from sessions.views.events import SessionDeleted

    story = await Story().begin()
    for _ in range(6):
        story.alerts.begin(SHOP, "deaf", "It is deaf.")
        story.alerts.end(SHOP, "deaf", "It hears.")
        story.now += 1
    assert len(story.notifier.situation().on) == 1
    story.flapping.on_deleted(SHOP, SessionDeleted(purged=False))
    await story.passes(60)
    assert story.notifier.situation().on == {}


async def test_what_has_happened_is_told_once_and_has_no_end() -> None:
    from sessions.model import AlertChange

    story = await Story().begin()
    for number in range(30):
        session = SessionId(f"s{number}")
        story.alerts.on_change(session, AlertChange(name="worker_killed", message="900 MiB."))
        await story.passes(10)
    await story.passes(3 * HOUR, 30)
    assert [len(notice.new) for notice in story.mail.notices] == [3, 27]
    assert not any(notice.ended for notice in story.mail.notices)
    assert story.notifier.channels()[0].told == 0


async def test_a_channel_that_is_taken_away_is_forgotten() -> None:
    story = await Story().begin()
    story.alerts.begin(None, "cpu", "cpu is 95%")
    await story.passes(60)
    story.notifier.follow([])
    assert story.forever.looks == {}
    assert story.rows.kept["told", "mail"] == []
    assert story.notifier.channels() == []


async def test_what_cannot_be_read_of_what_was_remembered_costs_nothing_else() -> None:
    from sessions.store.supervision.alert_rows import AlertRecord

    rows = Rows()
    rows.kept["silence", ""] = [AlertRecord("silence", "", "si_1", MONDAY_NOON, b"{")]
    story = await Story(rows).begin()
    story.alerts.begin(None, "cpu", "cpu is 95%")
    await story.passes(60)
    assert len(story.told) == 1


async def test_an_alert_that_is_called_otherwise_since_an_upgrade_stops_no_channel() -> None:
    story = await Story().begin()
    story.alerts.begin(SHOP, "parked", "Pair it.", "critical")
    story.alerts.begin(None, "cpu", "cpu is 95%")
    for alert in story.alerts.active():
        story.notifier.ledger.acknowledge(alert, "Ana", "I look")
    await story.passes(60)
    for records in story.rows.kept.values():
        for n, record in enumerate(records):
            data = record.data.replace(b'"cpu"', b'"processor"')
            records[n] = msgspec.structs.replace(record, data=data)

    after = await Story(story.rows, story.now + 60).begin()
    after.alerts.begin(SHOP, "parked", "Pair it.", "critical")
    after.alerts.begin(None, "memory", "memory is 95%")
    await after.passes(60)
    assert after.told == ["[warning] Memory is short"]
    left = [record for records in after.rows.kept.values() for record in records]
    assert not any(b"processor" in record.data for record in left)


async def test_a_notice_writes_what_it_has_changed_and_not_all_that_a_channel_was_told() -> None:
    story = await Story().begin()
    for number in range(50):
        story.alerts.begin(SessionId(f"s{number}"), "down", "It is down.", "critical")
    await story.passes(60)
    assert (story.rows.written, len(story.rows.kept["told", "mail"])) == (50, 50)
    story.alerts.begin(None, "cpu", "cpu is 95%")
    await story.passes(60)
    assert (story.rows.written, len(story.rows.kept["told", "mail"])) == (51, 51)
    story.alerts.end(None, "cpu", "cpu is 10%")
    await story.passes(60)
    assert (story.rows.written, len(story.rows.kept["told", "mail"])) == (51, 50)


async def test_who_cares_for_an_alert_does_not_care_for_the_next_of_its_name() -> None:
    story = await Story().begin()
    story.notifier.follow([])  # nobody is told, and so nobody looks
    story.alerts.begin(SHOP, "parked", "Pair it.", "critical")
    (alert,) = story.alerts.active()
    story.notifier.ledger.acknowledge(alert, "Ana", "I look")
    assert story.notifier.acknowledgement(alert) is not None
    story.now += 60
    story.alerts.end(SHOP, "parked", "It is open.")
    story.alerts.begin(SHOP, "parked", "Pair it.", "critical")
    (again,) = story.alerts.active()
    assert story.notifier.acknowledgement(again) is None
    assert story.notifier.situation().acknowledged == frozenset()


async def test_who_cares_for_what_comes_and_goes_cares_for_all_of_it() -> None:
    story = await Story().begin()
    for _ in range(6):
        story.now += 60
        story.alerts.begin(SHOP, "deaf", "It is deaf.")
        story.alerts.end(SHOP, "deaf", "It hears.")
    story.alerts.begin(SHOP, "deaf", "It is deaf.")
    story.notifier.ledger.acknowledge(story.alerts.active()[0], "Ana", "I look")
    story.now += 60
    story.alerts.end(SHOP, "deaf", "It hears.")
    story.notifier.settle()
    story.now += 60
    story.alerts.begin(SHOP, "deaf", "It is deaf.")
    assert story.notifier.acknowledgement(story.alerts.active()[0]) is not None
    assert len(story.notifier.situation().acknowledged) == 1


def test_why_an_alert_is_not_told() -> None:
    story = Story()
    story.alerts.begin(SHOP, "down", "It is down.", "critical")
    (alert,) = story.alerts.active()
    assert _why(story, alert) is None
    made = story.notifier.ledger.silence(["do*"], [], None, story.now + HOUR, "", "Ana")
    assert _why(story, alert) == made.id
    story.outages = Outages(everything=True)
    assert _why(story, alert) == "outage"


def _why(story: Story, alert: Alert) -> Any:
    return story.notifier.silenced([alert]).get(alert.id)
