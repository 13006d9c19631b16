"""Credentials that Baileys keeps in files, in and out: pure file work, blocking (call it in a
thread).

Layouts that are read:

- a folder of `useMultiFileAuthState`: `creds.json` and a file `<kind>-<name>.json` for each key;
  the session is named after the folder, or
  after its number where the folder is called as in Baileys' examples (`auth_info_baileys`);
- a folder of such folders (Evolution's `instances/`, a bot for each number);
- a `.json` file with `{"creds": ..., "keys": {"preKeys": ...}}` (Baileys' old single file, the
  `session` column of Whaticket); the session is
  named after the file;
- a folder of such files.

Written is the first one. Nothing is changed where it is read; nobody may go on using what was
imported: two owners of one device fight.
"""

import base64
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from sessions.credentials import credentials, staging
from sessions.model import InvalidSessionId, SessionId, WasupError, parse_session_id
from sessions.workers.wire import MAX_FRAME_BYTES, KeyEntry

CREDS: Final = credentials.KIND
CREDS_FILE: Final = "creds.json"
KINDS: Final = (
    "pre-key",
    "session",
    "sender-key",
    "sender-key-memory",
    "app-state-sync-key",
    "app-state-sync-version",
    "lid-mapping",
    "device-list",
    "tctoken",
    "identity-key",
)
"""What Baileys 7.0.0-rc14 keeps (`SignalDataTypeMap` in lib/Types/Auth.d.ts)."""
SINGLE_FILE_KINDS: Final = {
    "preKeys": "pre-key",
    "sessions": "session",
    "senderKeys": "sender-key",
    "appStateSyncKeys": "app-state-sync-key",
    "appStateVersions": "app-state-sync-version",
    "senderKeyMemory": "sender-key-memory",
}
"""Names in the single-file layout (`KEY_MAP` in Whaticket's authState.ts and in Baileys' old
useSingleFileAuthState).
"""
CREDS_BACKUPS: Final = ("creds.json.bak", "creds.json.backup", "creds.bak.json", "creds.json.old")
"""What bots that save twice call the copy beside the creds."""
NAMELESS: Final = re.compile(
    r"(baileys|auth|info|multi|file|md|state|sessions?|tokens?|creds|credentials|data|store"
    r"|wa|whatsapp|bot|[-_. ])+",
    re.IGNORECASE,
)
"""Folder names that say what lies there and not whose it is: Baileys' own examples say
`auth_info_baileys`.
"""
MAX_SESSION_BYTES: Final = 64 * 1024 * 1024
"""A long-lived session has some thousands of keys, a few kilobytes each at most."""
MAX_VALUE_BYTES: Final = MAX_FRAME_BYTES // 2
"""A value has to fit into a frame, with whatever else is in it."""
MAX_FILE_NAME_BYTES: Final = 255
"""What file systems take; a key with a longer name could never be exported."""
# sender-key-memory-... is no sender-key
_LONGEST_FIRST: Final = sorted(KINDS, key=len, reverse=True)


class NotImportable(WasupError):
    """These files are no credentials that can be imported."""

    code = "not_importable"
    hint = (
        "Give a folder with a creds.json, a folder of such folders, or a .json file with creds and"
        " keys."
    )


class NotExportable(WasupError):
    """The folder cannot be written."""

    code = "not_exportable"
    hint = "Choose a folder that does not exist yet, on a disk with room."


class FoundSession(msgspec.Struct, frozen=True):
    """A session's credentials and keys, as the store takes them.

    `warnings`: what was left out, without secrets.
    """

    id: SessionId
    entries: list[KeyEntry]
    warnings: list[str]


class RefusedSession(msgspec.Struct, frozen=True):
    """Something that looked like a session and is not imported, and why."""

    path: str
    reason: str
    hint: str


class Found(msgspec.Struct, frozen=True):
    """All that was found below a path."""

    sessions: list[FoundSession]
    refused: list[RefusedSession]


def find(
    path: Path, skip_unreadable: bool = False, session: str | None = None, use_backup: bool = False
) -> Found:
    """Read a folder, a folder of folders, or a file.

    Raises NotImportable when there is nothing that looks like a session, OSError.

    `skip_unreadable`: leave out keys that cannot be read instead of refusing their session (the
    creds must always be readable).
    `session`: what to call the one session that is there, instead of its folder's name.
    `use_backup`: see `read`.
    """
    candidates = list(_candidates(path))
    if not candidates:
        raise NotImportable(f"{path} holds no credentials of Baileys.")
    if session is not None and len(candidates) != 1:
        raise NotImportable(
            f"{path} holds {len(candidates)} sessions: one name is not enough.",
            "Leave the name away.",
        )
    sessions, refused = list[FoundSession](), list[RefusedSession]()
    places = dict[SessionId, Path]()
    for candidate in candidates:
        try:
            found = read(candidate, skip_unreadable, session, use_backup)
            if (other := places.setdefault(found.id, candidate)) is not candidate:
                raise NotImportable(
                    f"{candidate} would be the session {found.id!r}, and so is {other}.",
                    "Import it alone and give it a name: --id NAME.",
                )
            sessions.append(found)
        except (NotImportable, InvalidSessionId) as error:
            refused.append(RefusedSession(str(candidate), str(error), error.hint))
        except OSError as error:
            refused.append(
                RefusedSession(
                    str(candidate), f"{error.filename}: {error.strerror}.", "May this user read it?"
                )
            )
    return Found(sessions, refused)


def read(
    path: Path, skip_unreadable: bool = False, session: str | None = None, use_backup: bool = False
) -> FoundSession:
    """Read one session's folder or file. Raises NotImportable, InvalidSessionId, OSError.

    `use_backup`: where creds.json cannot be read, take the copy that the bot has kept beside it.
    """
    name = session if session is not None else _name_of(path)
    nameless = session is None and NAMELESS.fullmatch(name) is not None
    identifier = None if nameless else _session_id(name)
    reader = _Reader(skip_unreadable, use_backup)
    entries = reader.read_folder(path) if path.is_dir() else reader.read_file(path)
    return FoundSession(identifier or SessionId(_number_in(entries)), entries, reader.warnings)


def accept(entries: Iterable[KeyEntry]) -> list[KeyEntry]:
    """Entries that came by another way than a folder, held to what a folder can hold and in the
    same form. Raises NotImportable.
    """
    accepted = [_accepted(entry) for entry in entries if not entry.deleted]  # a null is no key
    if not any(entry.kind == CREDS for entry in accepted):
        raise NotImportable("There is no entry creds/creds.")
    try:
        _files(accepted)
    except NotExportable as error:
        raise NotImportable(str(error)) from None
    return accepted


def export(entries: Sequence[KeyEntry], directory: Path) -> None:
    """Write a folder that `useMultiFileAuthState` reads: whole or not at all, for nobody else to
    read. Raises NotExportable, OSError.

    Entries of kinds that Baileys does not know (our workers' own, such as `inbound`) are left out.
    """
    files = _files(entries)
    directory = directory.resolve()  # `.` has no name to put a partial one beside
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise NotExportable(f"{directory} exists and is not empty.")
    with staging.beside(directory) as workspace:
        folder = workspace / directory.name
        folder.mkdir(mode=0o700)
        for name, value in files.items():
            _write_private(folder / name, value)
        _sync_directory(folder)
        folder.rename(directory)  # replaces an empty directory, and nothing else
    _sync_directory(directory.parent)


# --- reading --------------------------------------------------------------------------------------


def _candidates(path: Path) -> Iterator[Path]:
    """What looks like a session, at the path or directly below it."""
    if path.is_file() or (path / CREDS_FILE).exists() or _backup_in(path):
        yield path
        return
    if not path.is_dir():
        return
    for below in sorted(path.iterdir()):
        if (below.is_dir() and not below.name.startswith(".")) or below.suffix == ".json":
            yield below


def _name_of(path: Path) -> str:
    """What a session is called that lies there; of a symbolic link it is the link's own name."""
    named = path if path.name not in {"", ".."} else path.resolve()
    return named.name if named.is_dir() else named.stem


def _session_id(name: str) -> SessionId:
    try:
        return parse_session_id(name)
    except InvalidSessionId as error:
        raise InvalidSessionId(
            str(error), f"{error.hint} Import it alone and give it one: --id NAME."
        ) from None


def _number_in(entries: Sequence[KeyEntry]) -> str:
    """The number of the account: what a session is called whose folder has no name of its own."""
    creds = next(bytes(entry.value) for entry in entries if entry.kind == CREDS)
    number = re.match(r"[0-9]{1,32}", json.loads(creds)["me"]["id"])
    assert number is not None, "credentials without a flaw have it"
    return number.group()


def _backup_in(folder: Path) -> Path | None:
    """The copy of the creds that the bot has kept, if it holds anything."""
    for name in CREDS_BACKUPS:
        copy = folder / name
        if copy.is_file() and copy.stat().st_size > 0:
            return copy
    return None


def _accepted(entry: KeyEntry) -> KeyEntry:
    what = f"The entry {entry.kind[:80]!r} / {entry.name[:80]!r}"
    if entry.kind not in KINDS and (entry.kind, entry.name) != (CREDS, CREDS):
        raise NotImportable(
            f"{what} is none that Baileys keeps: creds/creds and {', '.join(KINDS)}."
        )
    value = _parse(bytes(entry.value), what)
    return (
        _creds_entry(value, what)
        if entry.kind == CREDS
        else _entry(entry.kind, entry.name, value, what)
    )


class _Reader:
    """Reads one session and gathers what was left out."""

    def __init__(self, skip_unreadable: bool, use_backup: bool = False) -> None:
        self.warnings: list[str] = []
        self._use_backup = use_backup
        self._skip_unreadable = skip_unreadable
        self._bytes_left = MAX_SESSION_BYTES

    def read_folder(self, folder: Path) -> list[KeyEntry]:
        entries = [self._creds_of(folder)]
        for file in sorted(folder.iterdir()):
            if file.name not in {CREDS_FILE, *CREDS_BACKUPS}:
                entries += self._key_file(file)
        return entries

    def _creds_of(self, folder: Path) -> KeyEntry:
        """What creds.json holds; or the copy beside it, if that was allowed."""
        creds = folder / CREDS_FILE
        try:
            if not creds.is_file():
                raise NotImportable(f"{folder} holds no {CREDS_FILE}.")
            if not creds.stat().st_size:
                raise NotImportable(
                    f"{creds} is empty.", "Was the disk full, or the bot killed while it wrote?"
                )
            return _creds_entry(self._load(creds), str(creds))
        except NotImportable as error:
            copy = _backup_in(folder)
            if copy is None:
                raise
            try:
                found = _creds_entry(self._load(copy), str(copy))
            except NotImportable:
                raise error from None
            if not self._use_backup:
                raise NotImportable(
                    f"{error} But {copy.name} beside it holds good credentials.",
                    "Import it again with --use-backup. They are a little older: should WhatsApp"
                    " refuse them, pair again.",
                ) from None
            self.warnings.append(f"{error} The credentials are those of {copy.name}.")
            return found

    def read_file(self, file: Path) -> list[KeyEntry]:
        content = self._load(file)
        if not isinstance(content, dict) or CREDS not in content:
            raise NotImportable(f"{file} holds no creds.")
        entries = [_creds_entry(content[CREDS], str(file))]
        keys = content.get("keys") or {}
        for group, values in keys.items() if isinstance(keys, dict) else ():
            kind = SINGLE_FILE_KINDS.get(group)
            if kind is None or not isinstance(values, dict):
                self.warnings.append(f"{file}: keys of the unknown kind {group!r} are left out")
                continue
            kept = [
                (name, value)
                for name, value in values.items()
                if value and self._fits(kind, name, file)
            ]
            entries += [_entry(kind, name, value, str(file)) for name, value in kept]
        return entries

    def _key_file(self, file: Path) -> Iterable[KeyEntry]:
        known = key_of(file.name)
        if known is None or not file.is_file():
            self.warnings.append(f"{file} is no key of Baileys and is left out")
            return
        kind, name = known
        if not self._fits(kind, name, file):
            return
        try:
            value = self._load(file)
        except NotImportable as error:
            if not self._skip_unreadable:
                raise NotImportable(
                    str(error), "Allow unreadable keys to be skipped, or restore the file."
                ) from None
            self.warnings.append(f"{error} It is left out.")
            return
        if value:  # a null is no key
            yield _entry(kind, name, value, str(file))

    def _fits(self, kind: str, name: str, file: Path) -> bool:
        try:
            _file_name(kind, name)
        except NotExportable as error:
            self.warnings.append(f"{file}: {error} It is left out.")
            return False
        return True

    def _load(self, file: Path) -> Any:
        """A file's JSON. Raises NotImportable, which names the file and quotes nothing."""
        if not file.is_file():  # a pipe would never end
            raise NotImportable(f"{file} is no ordinary file.")
        content = _begin_of(file, self._bytes_left + 1)
        if len(content) > self._bytes_left:
            raise NotImportable(
                f"{file} is too large: with it the session has more than"
                f" {MAX_SESSION_BYTES // 2**20} MiB.",
                "No session of Baileys has so much; look at what the folder holds.",
            )
        self._bytes_left -= len(content)
        return _parse(content, str(file))


def key_of(file_name: str) -> tuple[str, str] | None:
    """Kind and name of the key in a file of that name; None if it holds none."""
    stem = file_name.removesuffix(".json")
    if stem == file_name:
        return None
    for kind in _LONGEST_FIRST:
        if stem.startswith(f"{kind}-"):
            mend = _MENDS.get(kind)
            name = stem[len(kind) + 1 :]
            return kind, mend(name) if mend else name
    return None


def _base64_again(name: str) -> str:
    """The id of an app state key is base64, which has `/` and no `_`."""
    return name.replace("__", "/")


def _sender_key_again(name: str) -> str:
    """`group::user::device`; the group's id may hold single `-`, and a user's none."""
    return "::".join(name.rsplit("--", 2))


_MENDS: Final[Mapping[str, Callable[[str], str]]] = {
    "app-state-sync-key": _base64_again,
    "sender-key": _sender_key_again,
}
"""Baileys writes `/` as `__` and `:` as `-` in file names.

How that is undone depends on what the kind's names may hold: those of all other kinds (numbers,
`user_domain.device`, jids without device, `__index`) hold neither `/` nor `:`.
"""


def _creds_entry(creds: Any, source: str) -> KeyEntry:
    entry = _entry(CREDS, CREDS, creds, source)
    if flaw := credentials.flaw(bytes(entry.value)):
        raise NotImportable(f"{source} holds no credentials of Baileys. {flaw}")
    if not credentials.paired(creds):
        raise NotImportable(
            f"{source} was never paired.",
            "There is nothing to save: create the session and scan a QR code.",
        )
    return entry


def _entry(kind: str, name: str, value: Any, source: str) -> KeyEntry:
    # On one line, and no half characters: it travels in frames. (They stand in people's names at
    # most.)
    try:
        text = json.dumps(
            _with_base64(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False
        )
    except (ValueError, RecursionError):  # 1e999, or ten thousand brackets
        raise NotImportable(
            f"{source} cannot be read: it holds what Baileys never writes."
        ) from None
    encoded = text.encode("utf-8", "replace")
    if len(encoded) > MAX_VALUE_BYTES:
        raise NotImportable(
            f"{source} is too large: a value may have {MAX_VALUE_BYTES // 2**20} MiB."
        )
    return KeyEntry(kind, name, msgspec.Raw(encoded))


def _with_base64(value: Any) -> Any:
    """Buffers that were written as lists of numbers (Node's own way), as Baileys writes and reads
    them.
    """
    if isinstance(value, list):
        return [_with_base64(item) for item in value]
    if not isinstance(value, dict):
        return value
    data = value.get("data")
    if value.get("type") == "Buffer" and isinstance(data, list):
        return {"type": "Buffer", "data": base64.b64encode(_bytes_of(data)).decode()}
    return {name: _with_base64(item) for name, item in value.items()}


def _bytes_of(data: list[Any]) -> bytes:
    try:
        return bytes(data)
    except (TypeError, ValueError):
        raise NotImportable("A Buffer holds something else than bytes.") from None


def _begin_of(file: Path, most_bytes: int) -> bytes:
    with file.open("rb") as opened:
        return opened.read(most_bytes)


def _parse(content: bytes, source: str) -> Any:
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise NotImportable(f"{source} cannot be read: it is not JSON.") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# --- writing --------------------------------------------------------------------------------------


def _files(entries: Sequence[KeyEntry]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for entry in entries:
        if entry.kind not in {CREDS, *KINDS}:
            continue
        name = CREDS_FILE if entry.kind == CREDS else _file_name(entry.kind, entry.name)
        if name in files:
            raise NotExportable(f"Two keys of the kind {entry.kind!r} would be one file.")
        files[name] = bytes(entry.value)
    if CREDS_FILE not in files:
        raise NotExportable("There are no credentials to write.", "The session was never paired.")
    return files


def _file_name(kind: str, name: str) -> str:
    """As Baileys' fixFileName. Raises NotExportable."""
    file_name = f"{kind}-{name}.json".replace("/", "__").replace(":", "-")
    try:
        length = len(file_name.encode())
    except UnicodeEncodeError:
        raise NotExportable(f"A key of the kind {kind!r} has a name that is no text.") from None
    if not name or "\0" in name or length > MAX_FILE_NAME_BYTES:
        raise NotExportable(f"A key of the kind {kind!r} has a name that no file can have.")
    return file_name


def _write_private(file: Path, value: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(value)
        opened.flush()
        os.fsync(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
