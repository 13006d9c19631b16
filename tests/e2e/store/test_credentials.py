"""Credentials are never lost: archives and snapshots, folders of Baileys in and out, encryption at
rest, backups; with real processes.
"""

import asyncio
import io
import json
import secrets
import shutil
import stat
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from scripts.lab import StandIn, Supervisor, Traffic, eventually, pair
from scripts.lab.traffic import SENDER
from tests.conftest import StartSupervisor
from tests.lab_tools import (
    all_bytes,
    another_home,
    hears,
    in_database,
    must,
    registrations,
    restarted,
    says,
    secrets_of,
    seen_by_neighbours,
    store_state,
    texts,
    wasup,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def archives(supervisor: Supervisor, session: str) -> list[Any]:
    return list((await supervisor.get(f"/sessions/{session}/archives"))["archives"])


async def opens_without_qr(supervisor: Supervisor, standin: StandIn, *sessions: str) -> None:
    """They open with what is stored, and messages decrypt both ways."""
    for session in sessions:
        await supervisor.wait_state(session, "open")
        assert await registrations(standin, session) == 1, "the first pairing was the only one"
    word = secrets.token_hex(4)
    await asyncio.gather(
        *(hears(supervisor, standin, session, f"entra {word}") for session in sessions)
    )
    await asyncio.gather(
        *(says(supervisor, standin, session, f"sai {word}") for session in sessions)
    )


def readable_by_others(directory: Path) -> list[str]:
    return [
        str(path)
        for path in directory.rglob("*")
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]


# --- archives and snapshots -----------------------------------------------------------------------


async def test_what_the_phone_unlinks_is_archived_whole_and_a_restore_of_it_parks_again_without_a_new_pairing(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "gone")
    first = await eventually(
        partial(archives, supervisor, "gone"), what="the snapshot after the pairing"
    )
    assert [(a["reason"], a["whole"], a["entries"]) for a in first] == [("paired", False, 1)]
    await standin.call("POST", "/unlink", {"session": "gone"})
    await supervisor.wait_state("gone", "parked")
    archived = (await archives(supervisor, "gone"))[-1]
    assert (archived["reason"], archived["whole"]) == ("logged_out", True)
    assert archived["entries"] > 100, "all its keys"
    listed = await must(supervisor, "sessions", "archives", "gone")
    assert "logged_out everything" in listed
    assert "paired creds only (snapshot)" in listed

    refused = len(await standin.log("login_refused", session="gone"))
    answer = await supervisor.must("POST", "/sessions/gone/restore", {"archive": archived["id"]})
    assert answer["archive"]["id"] == archived["id"]
    await eventually(
        partial(standin.log, "login_refused", session="gone"),
        lambda seen: len(seen) > refused,
        what="the old login",
    )
    parked = await supervisor.wait_state("gone", "parked")
    assert parked["reconnection"]["closeReason"] == "logged_out"

    said = await must(
        supervisor, "sessions", "restore", "gone", "--archive", archived["id"], "--no-start"
    )
    assert f"archive {archived['id']}, logged_out" in said
    seen = await supervisor.session("gone")
    assert (seen["state"], seen["wanted"]) == ("stopped", False), (
        "nothing logs it in again but an operator"
    )
    assert await registrations(standin, "gone") == 1


async def test_a_deleted_session_comes_back_by_api_and_by_command_and_opens_without_a_qr(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    names = ["by-api", "by-command", "while-stopped"]
    await pair(supervisor, standin, *names)
    for name in names:
        await hears(supervisor, standin, name, "antes")
        await supervisor.must("DELETE", f"/sessions/{name}")
        assert (await supervisor.call("GET", f"/sessions/{name}"))[0] == 404
    answer = await supervisor.must("POST", "/sessions/by-api/restore")
    assert (answer["archive"]["reason"], answer["id"]) == ("deleted", "by-api")
    await must(supervisor, "sessions", "restore", "by-command")
    assert await supervisor.stop() == 0
    await must(supervisor, "sessions", "restore", "while-stopped")
    await supervisor.start()
    await opens_without_qr(supervisor, standin, *names)
    restored_events = await supervisor.events("session.created", "by-api")
    assert len(restored_events) == 2, "the restore of a deleted session is told, too"


async def test_a_restore_that_cannot_be_is_refused_and_changes_nothing(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "in-use")
    await supervisor.must("POST", "/sessions", {"id": "bare", "start": False})
    kept = await eventually(partial(archives, supervisor, "in-use"))
    for path, body, status, code in [
        ("/sessions/in-use/restore", None, 409, "in_use"),
        ("/sessions/bare/restore", None, 404, "no_archive"),
        # another session's
        ("/sessions/bare/restore", {"archive": kept[0]["id"]}, 404, "no_archive"),
        ("/sessions/nobody/restore", {"archive": 999}, 404, "no_archive"),
        ("/sessions/nobody/restore", {"archive": "x"}, 400, "bad_request"),
        ("/sessions/a%20b/restore", None, 404, "session_not_found"),
    ]:
        answered, answer = await supervisor.call("POST", path, body)
        assert (answered, answer["error"]["code"]) == (status, code), path
        assert answer["error"]["hint"]
    assert (await supervisor.call("GET", "/sessions/nobody/archives"))[0] == 404
    done = await wasup(supervisor, "sessions", "restore", "in-use")
    assert (done.status, "in-use is open" in done.said) == (1, True)
    done = await wasup(supervisor, "sessions", "restore", "nobody", "--archive", 999)
    assert (done.status, "no archive 999" in done.said) == (1, True)
    assert [session["id"] for session in (await supervisor.get("/sessions"))["sessions"]] == [
        "in-use",
        "bare",
    ]
    assert await archives(supervisor, "in-use") == kept


async def test_credentials_that_cannot_be_read_are_quarantined_and_a_snapshot_brings_them_back(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "spoilt", "halved")
    for name in ("spoilt", "halved"):
        await eventually(partial(archives, supervisor, name), what="its snapshot")
    await supervisor.stop()
    in_database(
        supervisor,
        "update auth set value = x'7b226e6f' where session = 'spoilt' and kind = 'creds'",
    )
    in_database(
        supervisor,
        "update auth set value = cast('{}' as blob) where session = 'halved' and kind = 'creds'",
    )
    for _ in range(2):  # a restart changes nothing about it
        await supervisor.start()
        for name in ("spoilt", "halved"):
            seen = await supervisor.wait_state(name, "quarantined")
            assert "restore" in seen["reconnection"]["humanAction"]
            status, answer = await supervisor.call("POST", f"/force-reconnection/{name}")
            assert (status, answer["error"]["code"]) == (409, "quarantined")
        await supervisor.stop()
    assert bytes(
        in_database(
            supervisor, "select value from auth where session = 'spoilt' and kind = 'creds'"
        )[0][0]
    ) == (b'{"no'), "nothing was overwritten"
    await supervisor.start()
    for name in ("spoilt", "halved"):
        await eventually(
            partial(supervisor.events, "alert", name), what="an alert: somebody is woken"
        )
        await supervisor.wait_state(name, "quarantined")
        assert (await supervisor.call("GET", f"/sessions/{name}/qr"))[0] == 409
        answer = await supervisor.must("POST", f"/sessions/{name}/restore")
        assert (answer["archive"]["reason"], answer["archive"]["whole"]) == ("paired", False)
    await opens_without_qr(supervisor, standin, "spoilt", "halved")


async def test_a_signal_key_that_cannot_be_read_quarantines_its_session_before_baileys_makes_another(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "scratched")
    await hears(supervisor, standin, "scratched", "antes")
    await says(supervisor, standin, "scratched", "antes")
    await supervisor.stop()
    spoil = "update auth set value = x'00ff' where session = 'scratched' and kind = 'session'"
    in_database(supervisor, spoil)
    before = in_database(
        supervisor, "select name, value from auth where kind = 'session' order by name"
    )
    assert before, "there is a key to spoil"
    await supervisor.start()
    await supervisor.wait_state("scratched", "open")
    await standin.send_text("scratched", SENDER, "com que chave?")
    seen = await supervisor.wait_state("scratched", "quarantined")
    assert "restore" in seen["reconnection"]["humanAction"]

    async def told() -> list[str]:
        events = await supervisor.events("alert.raised", "scratched")
        return [event["data"]["message"] for event in events]

    await eventually(
        told,
        lambda messages: any("session '" in message for message in messages),
        what="an alert that names the row",
    )
    after = in_database(
        supervisor, "select name, value from auth where kind = 'session' order by name"
    )
    assert after == before, "no key was made in its place"
    await supervisor.must("POST", "/sessions/scratched/restore")
    await supervisor.wait_state("scratched", "open")
    await eventually(
        partial(texts, supervisor, "scratched"),
        lambda seen: "com que chave?" in seen,
        what="the text",
    )
    await opens_without_qr(supervisor, standin, "scratched")


# --- folders of Baileys ---------------------------------------------------------------------------


async def test_a_session_goes_out_as_a_folder_of_baileys_and_comes_back_without_a_qr(
    share_supervisor: StartSupervisor, standin: StandIn, tmp_path: Path
) -> None:
    """Many at once, into a supervisor that runs and into one that does not, one broken among them;
    also in Whaticket's form.
    """
    supervisor = await share_supervisor()
    names = ["moved-1", "moved-2", "moved-json", "moved-late"]
    await pair(supervisor, standin, *names)
    for name in names:
        await hears(supervisor, standin, name, "na casa antiga")
        await supervisor.must("POST", f"/sessions/{name}/stop")
        said = await must(supervisor, "sessions", "export", name, tmp_path / name)
        assert "whoever has them can be it" in said
        await supervisor.must("DELETE", f"/sessions/{name}")
    assert readable_by_others(tmp_path) == []
    keys = secrets_of(tmp_path / "moved-1")

    together, late = tmp_path / "together", tmp_path / "late"
    together.mkdir()
    late.mkdir()
    for name in ("moved-1", "moved-2"):
        shutil.move(tmp_path / name, together / name)
    prekey = next((together / "moved-2").glob("pre-key-*.json")).read_text()
    for number in range(3000):  # more than an ordinary call of the API may carry
        (together / "moved-2" / f"pre-key-{900_000 + number}.json").write_text(prekey)
    shutil.move(tmp_path / "moved-late", late / "moved-late")
    whaticket(tmp_path / "moved-json", together / "moved-json.json")
    (together / "broken").mkdir()
    (together / "broken" / "creds.json").write_text('{"noiseKey": ')
    (together / "not a name").mkdir()
    shutil.copy(together / "moved-1" / "creds.json", together / "not a name" / "creds.json")

    command = asyncio.create_task(wasup(supervisor, "sessions", "import", together, "--start"))
    seen = ""
    while not command.done():
        seen += seen_by_neighbours()
        await asyncio.sleep(0.2)
    done = command.result()
    assert done.status == 1
    assert "2 not imported" in done.said
    assert "broken" in done.said
    assert "not a name" in done.said
    for name in ("moved-1", "moved-2", "moved-json"):
        assert f"{name}: imported" in done.said
    await opens_without_qr(supervisor, standin, "moved-1", "moved-2", "moved-json")

    again = await wasup(supervisor, "sessions", "import", together / "moved-1")
    assert (again.status, "already" in again.said) == (1, True), "what is there is not overwritten"
    twice = await wasup(supervisor, "sessions", "import", together / "moved-1", "--id", "twice")
    assert (twice.status, "'moved-1' is this device" in twice.said) == (1, True), (
        "nor is one device a second session"
    )
    assert (await supervisor.call("GET", "/sessions/twice"))[0] == 404
    assert await supervisor.stop() == 0
    await must(supervisor, "sessions", "import", late)
    await supervisor.start()
    assert (await supervisor.session("moved-late"))["state"] == "stopped", (
        "nothing starts that was not to be started"
    )
    await supervisor.must("POST", "/sessions/moved-late/start")
    await opens_without_qr(supervisor, standin, "moved-late", "moved-1")

    assert supervisor.process is not None
    log = supervisor.process.output.read_text() + "".join(
        p.read_text() for p in supervisor.directory.glob("logs/*")
    )
    for key in keys:
        assert key not in seen + done.said + again.said + log
    assert readable_by_others(supervisor.directory) == []
    assert stat.S_IMODE(supervisor.directory.stat().st_mode) == 0o700


def whaticket(folder: Path, file: Path) -> None:
    """A useMultiFileAuthState folder as the one JSON that Whaticket keeps."""
    groups = {"pre-key": "preKeys", "session": "sessions", "app-state-sync-key": "appStateSyncKeys"}
    keys: dict[str, dict[str, Any]] = {group: {} for group in groups.values()}
    for key in folder.glob("*.json"):
        for kind, group in groups.items():
            if key.stem.startswith(f"{kind}-"):
                keys[group][key.stem.removeprefix(f"{kind}-").replace("__", "/")] = json.loads(
                    key.read_text()
                )
    file.write_text(
        json.dumps({"creds": json.loads((folder / "creds.json").read_text()), "keys": keys})
    )


async def test_credentials_of_a_wrong_shape_are_quarantined_with_the_fields_name_and_a_snapshot_brings_them_back(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """Baileys would throw at each attempt: connection_closed, for ever."""
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "misshapen")
    await eventually(partial(archives, supervisor, "misshapen"), what="its snapshot")
    await supervisor.stop()
    row = "where session = 'misshapen' and kind = 'creds'"
    creds = json.loads(bytes(in_database(supervisor, f"select value from auth {row}")[0][0]))
    spoilt = json.dumps(creds | {"noiseKey": "secret"})
    in_database(supervisor, f"update auth set value = cast(? as blob) {row}", spoilt)
    await supervisor.start()
    await supervisor.wait_state("misshapen", "quarantined")
    told = partial(supervisor.events, "alert", "misshapen")
    alerts = await eventually(told, what="the alert, which is shown when it is durable")
    assert any(
        "noiseKey.public is no Buffer of 32 bytes" in alert["data"]["message"] for alert in alerts
    )
    assert "secret" not in str(alerts)
    await supervisor.must("POST", "/sessions/misshapen/restore")
    await opens_without_qr(supervisor, standin, "misshapen")


async def test_what_is_imported_by_the_api_is_held_to_what_a_folder_can_hold(
    share_supervisor: StartSupervisor, standin: StandIn, tmp_path: Path
) -> None:
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "lender")
    await supervisor.must("POST", "/sessions/lender/stop")
    await must(supervisor, "sessions", "export", "lender", tmp_path / "lender")
    await supervisor.must("DELETE", "/sessions/lender")
    creds = json.loads((tmp_path / "lender" / "creds.json").read_text())
    good = {"kind": "creds", "name": "creds", "value": creds}

    async def refused(body: bytes, status: int = 400) -> Any:
        headers = {"Content-Type": "application/json"}
        path = f"{supervisor.api}/sessions/borrower/import"
        async with (
            aiohttp.ClientSession() as http,
            http.post(path, data=io.BytesIO(body), headers=headers) as response,
        ):
            answer = await response.json()
        assert response.status == status
        assert set(answer["error"]) == {"code", "message", "hint"}
        return answer["error"]

    def body(*entries: Any) -> bytes:
        return json.dumps({"entries": entries, "start": False}).encode()

    for entry, words in [
        # made invalid UTF-8 below
        ({"kind": "session", "name": "@@", "value": 1}, "cannot be read"),
        ({"kind": "inbound", "name": "1", "value": 1}, "none that Baileys keeps"),
        ({"kind": "creds", "name": "other", "value": creds}, "none that Baileys keeps"),
        ({"kind": "session", "name": "x" * 250, "value": 1}, "no file can have"),
        ({"kind": "session", "name": "a\0b", "value": 1}, "no file can have"),
    ]:
        spoilt = body(good, entry).replace(b'"@@", "value": 1', b'"@@", "value": "\xff"')
        error = await refused(spoilt)
        assert (
            error["code"],
            words in error["message"],
            "useMultiFileAuthState" in error["hint"],
        ) == (
            "bad_request",
            True,
            True,
        ), error
    assert (
        "noiseKey.public"
        in (await refused(body(good | {"value": creds | {"noiseKey": "x"}})))["message"]
    )
    assert (
        "never paired"
        in (await refused(body(good | {"value": creds | {"account": None}})))["message"]
    )
    assert "16384 KiB" in (await refused(b" " * (65 * 2**20), 413))["hint"]
    assert (await supervisor.call("GET", "/sessions/borrower"))[0] == 404
    await must(supervisor, "sessions", "import", tmp_path / "lender", "--start")
    await opens_without_qr(supervisor, standin, "lender")


# --- encryption at rest ---------------------------------------------------------------------------


def new_key() -> str:
    return secrets.token_hex(32)


async def refuses_to_start(supervisor: Supervisor, **settings: str) -> None:
    """It names the variable, and not its value."""
    done = await wasup(supervisor, **settings)
    assert done.status != 0
    assert "WHATSAPP_STORE_KEY" in done.said
    assert all(value not in done.said for value in settings.values() if value)


async def test_an_encrypted_store_shows_nothing_wants_its_key_and_the_key_can_be_changed(
    start_supervisor: StartSupervisor, standin: StandIn, tmp_path: Path
) -> None:
    old, new = new_key(), new_key()
    supervisor = await start_supervisor(store_key=old)
    await pair(supervisor, standin, "sealed")
    await hears(supervisor, standin, "sealed", "um segredo de estado")
    worker = (await supervisor.session("sealed"))["performance"]["workerPid"]
    assert old not in seen_by_neighbours(worker)
    await must(supervisor, "sessions", "export", "sealed", tmp_path / "sealed")
    plain = ["um segredo de estado", "noiseKey", *secrets_of(tmp_path / "sealed")]
    assert shown(plain, supervisor) == []
    await supervisor.must("DELETE", "/sessions/sealed")
    await supervisor.must("POST", "/sessions/sealed/restore")  # archives are sealed, too
    await supervisor.wait_state("sealed", "open")
    assert await supervisor.stop() == 0
    assert shown(plain, supervisor) == []

    await refuses_to_start(supervisor, WHATSAPP_STORE_KEY="")
    await refuses_to_start(supervisor, WHATSAPP_STORE_KEY=new)
    supervisor.settings = dict(supervisor.settings) | {"WHATSAPP_STORE_KEY": f"{new},{old}"}
    await supervisor.start()
    await opens_without_qr(supervisor, standin, "sealed")
    assert "supervisor" in (await wasup(supervisor, "store", "rotate")).said, "not while it runs"
    assert await supervisor.stop() == 0
    assert "The other keys can be dropped." in await must(supervisor, "store", "rotate")
    await refuses_to_start(supervisor, WHATSAPP_STORE_KEY=old)
    supervisor.settings = dict(supervisor.settings) | {"WHATSAPP_STORE_KEY": new}
    await supervisor.start()
    await opens_without_qr(supervisor, standin, "sealed")
    assert "um segredo de estado" in await texts(supervisor, "sealed"), (
        "the events can be read, too"
    )
    assert shown(plain, supervisor) == []
    assert supervisor.process is not None
    log = supervisor.process.output.read_text()
    assert old not in log
    assert new not in log


async def test_a_plain_store_becomes_an_encrypted_one(
    start_supervisor: StartSupervisor, standin: StandIn, tmp_path: Path
) -> None:
    supervisor = await start_supervisor()
    await pair(supervisor, standin, "plain")
    await hears(supervisor, standin, "plain", "um segredo qualquer")
    await must(supervisor, "sessions", "export", "plain", tmp_path / "plain")
    plain = ["um segredo qualquer", *secrets_of(tmp_path / "plain")]
    assert shown(plain, supervisor) == plain, "or the search proves nothing"
    await restarted(supervisor, WHATSAPP_STORE_KEY=new_key())
    await opens_without_qr(supervisor, standin, "plain")
    assert await supervisor.stop() == 0
    await must(supervisor, "store", "rotate")
    assert shown(plain, supervisor) == []
    await refuses_to_start(supervisor, WHATSAPP_STORE_KEY="")
    await supervisor.start()
    await opens_without_qr(supervisor, standin, "plain")


def shown(plain: list[str], supervisor: Supervisor) -> list[str]:
    """What of it can be read in the database's files."""
    written = all_bytes(supervisor.directory)
    return [text for text in plain if text.encode() in written]


# --- backups --------------------------------------------------------------------------------------


async def test_a_backup_made_under_traffic_opens_elsewhere_without_a_qr_and_is_never_laid_over_anything(
    start_supervisor: StartSupervisor, standin: StandIn, tmp_path: Path
) -> None:
    supervisor = await start_supervisor()
    names = ["saved-1", "saved-2"]
    await pair(supervisor, standin, *names)
    for name in names:
        await hears(supervisor, standin, name, "guardado")
    file = tmp_path / "wasup.backup"
    async with Traffic(standin, names, 0.02):
        assert "2 sessions" in await must(supervisor, "backup", file)
    assert readable_by_others(tmp_path) == []
    done = await wasup(supervisor, "backup", file)
    assert (done.status, "exists already" in done.said) == (1, True)
    done = await wasup(supervisor, "restore", file)
    assert (done.status, "held by another supervisor" in done.said) == (1, True)
    torn = tmp_path / "torn.backup"
    torn.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    async with another_home(supervisor, f"{supervisor.directory.name}-new") as elsewhere:
        done = await wasup(elsewhere, "restore", torn)
        assert (done.status, "is no backup" in done.said) == (1, True)
        said = await must(elsewhere, "restore", file)
        assert "2 sessions" in said
        assert "wasup sessions start --all" in said
        assert readable_by_others(elsewhere.directory) == []
        left = left_by_a_killed_restore(elsewhere)
        before = await standin.last_entry()
        await elsewhere.start()
        assert not left.exists()
        assert elsewhere.process is not None
        assert (
            "were restored from a backup and stay stopped" in elsewhere.process.output.read_text()
        )
        status, answer = await elsewhere.call("POST", "/sessions/saved-1/start")
        assert (status, answer["error"]["code"]) == (409, "origin_runs"), "the original still runs"
        done = await wasup(elsewhere, "sessions", "start", "--all")
        assert (done.status, "2 not started" in done.said) == (1, True)
        assert await standin.log("login", "overlap", after=before) == [], (
            "a rehearsal logs nobody in"
        )
        for name in names:
            assert (await supervisor.session(name))["state"] == "open"

        assert await supervisor.stop() == 0
        left = left_by_a_killed_restore(supervisor)
        done = await wasup(supervisor, "restore", file)
        assert (done.status, "is not empty" in done.said) == (1, True)
        assert not left.exists()
        assert "2 started" in await must(elsewhere, "sessions", "start", "--all")
        await opens_without_qr(elsewhere, standin, *names)
        seen = (await elsewhere.get("/sessions"))["sessions"]
        assert [session["restored"] for session in seen] == [False, False]


# --- the database is gone -------------------------------------------------------------------------


async def test_a_database_that_is_gone_or_emptied_is_noticed_at_the_start_and_under_a_running_supervisor(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor()
    await pair(supervisor, standin, "precious")
    file = supervisor.directory / "wasup.db"
    aside = supervisor.directory / "aside.db"
    file.rename(aside)
    await eventually(
        partial(store_state, supervisor),
        lambda state: state == "failing",
        what="the file being missed",
    )
    assert (await supervisor.get("/readyz"))["store"] == "failing"
    status, _ = await supervisor.call(
        "POST", "/sessions/precious/messages", {"to": SENDER, "text": "lost"}
    )
    assert status == 503, "what is sent has keys that would be lost"

    async def words() -> str:
        shown: str = (await supervisor.get("/reconnection-status"))["store"]["words"]
        return shown

    # A write may have failed by another name before the file was looked for.
    await eventually(words, lambda shown: "is gone" in shown, what="the cause in words")
    aside.rename(file)
    await eventually(
        partial(store_state, supervisor), lambda state: state == "ok", what="the file being back"
    )
    await says(supervisor, standin, "precious", "de volta")

    assert await supervisor.stop() == 0
    for name in ("wasup.db-wal", "wasup.db-shm"):
        (supervisor.directory / name).unlink(missing_ok=True)
    content = file.read_bytes()
    for spoil in (file.unlink, partial(file.write_bytes, b"")):
        spoil()
        refused = await wasup(supervisor, "run")
        assert refused.status == 1
        assert "store.id" in refused.said, "how to begin anew on purpose"
    file.write_bytes(content)
    await supervisor.start()
    await opens_without_qr(supervisor, standin, "precious")


def left_by_a_killed_restore(supervisor: Supervisor) -> Path:
    left = supervisor.directory / ".wasup-restore-abcd1234"
    left.mkdir()
    (left / "copy.db").write_bytes(b"the keys of all numbers")
    return left
