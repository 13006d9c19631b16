"""Settings and data are found from where wasup is installed, or from where it is told: never from
where somebody happens to stand.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from supervisor.cli import cli
from supervisor.places import installation
from supervisor.settings import BadSettings, load, unknown_variables

ROOT = Path(installation.__file__).resolve().parents[2]
WASUP = Path(sys.executable).with_name("wasup")


def wasup(*arguments: str) -> tuple[int, str]:
    """A command line, here: status and all that was said, on one line."""
    done = CliRunner().invoke(cli.app, list(arguments))
    return done.exit_code, " ".join(done.output.split())


def as_a_process(*arguments: str, below: Path) -> tuple[int, str]:
    """The installed program, by somebody who stands in that folder and has no settings."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("WHATSAPP_")}
    done = subprocess.run(
        [WASUP, *arguments], cwd=below, env=bare, capture_output=True, text=True, timeout=60
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def elsewhere(bare_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installation is empty, and we stand in another folder."""
    home = bare_environment / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    return home


def test_the_version_is_the_projects() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert wasup("--version") == (0, f"wasup {wanted}")


@pytest.mark.parametrize("way", [(), ("-h",), ("--help",)])
def test_who_only_types_wasup_gets_help_and_starts_nothing(
    way: tuple[str, ...], tmp_path: Path
) -> None:
    status, said = as_a_process(*way, below=tmp_path)
    assert (status, "Usage: wasup" in said, "explain" in said) == (0, True, True)
    assert list(tmp_path.iterdir()) == []


def test_every_command_of_the_table_can_be_loaded_and_has_help() -> None:
    for name in cli.Commands.verbs:
        status, said = wasup(name, "-h")
        assert (status, f"Usage: root {name}" in said) == (0, True), said


def test_settings_and_data_are_the_installations_wherever_one_stands(
    bare_environment: Path, elsewhere: Path
) -> None:
    (bare_environment / ".env").write_text(
        "WHATSAPP_API_PORT=5000\nWHATSAPP_POLICY_FILE=policy.toml\nWHATSAPP_NOTHING=1\n"
    )
    loaded = load()
    assert (loaded.api_port, loaded.data_dir) == (5000, bare_environment / "data")
    assert loaded.policy_file == bare_environment / "policy.toml"
    assert [line.split()[0] for line in unknown_variables()] == ["WHATSAPP_NOTHING"]


def test_a_relative_data_directory_is_the_installations_too(
    bare_environment: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATSAPP_DATA_DIR", "numbers")
    assert load().data_dir == bare_environment / "numbers"
    monkeypatch.setenv("WHATSAPP_DATA_DIR", str(elsewhere / "own"))
    assert load().data_dir == elsewhere / "own"
    monkeypatch.setenv("WHATSAPP_WATCHED_DIRECTORIES", f"backups, {elsewhere}")
    assert load().further_directories() == [bare_environment / "backups", elsewhere]


def test_a_folder_that_is_gone_or_closed_to_us_is_no_hindrance(
    elsewhere: Path, bare_environment: Path
) -> None:
    elsewhere.rmdir()
    assert load().data_dir == bare_environment / "data"
    status, said = as_a_process("sessions", "list", below=Path("/proc/self"))
    assert (status, "No supervisor runs on" in said) == (3, True), said


def test_the_flag_names_another_folder(bare_environment: Path, elsewhere: Path) -> None:
    (elsewhere / ".env").write_text("WHATSAPP_API_PORT=many\n")
    assert (
        "WHATSAPP_API_PORT is 'many'" in wasup("--directory", str(elsewhere), "sessions", "list")[1]
    )
    (elsewhere / ".env").write_text("WHATSAPP_DATA_DIR=numbers\n")
    status, said = wasup("--directory", str(elsewhere), "sessions", "list")
    assert (status, f"No supervisor runs on {elsewhere / 'numbers'}" in said) == (3, True), said
    assert wasup("--directory", str(elsewhere / "nowhere"), "sessions", "list")[0] == 2


@pytest.mark.parametrize("left", [".env", "data/wasup.db"])
def test_what_0_1_0_would_have_taken_from_here_is_not_passed_over_in_silence(
    left: str, elsewhere: Path, bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / left).parent.mkdir(exist_ok=True)
    (elsewhere / left).write_text("WHATSAPP_API_PORT=5000\n")
    with pytest.raises(BadSettings, match="--directory") as refused:
        load()
    assert str(elsewhere) in str(refused.value)
    assert wasup("sessions", "list")[0] == 78
    assert wasup("--directory", str(elsewhere), "sessions", "list")[0] == 3
    monkeypatch.setenv("WHATSAPP_DATA_DIR", str(bare_environment))
    assert load().api_port == 4001, "who says where the data are has said what is meant"


def test_a_settings_file_of_another_program_is_nobodys_concern(elsewhere: Path) -> None:
    (elsewhere / ".env").write_text("DATABASE_URL=postgres://shop\n")
    assert load().api_port == 4001


def test_settings_that_may_not_be_read_are_told_in_a_sentence(
    bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare_environment / ".env").write_text("WHATSAPP_API_PORT=5000\n")

    # root may read everything, so the refusal is played
    def closed(*_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied", str(bare_environment / ".env"))

    monkeypatch.setattr("pydantic_settings.sources.providers.dotenv.dotenv_values", closed)
    with pytest.raises(
        BadSettings, match=r"\.env cannot be read \(Permission denied\): be the user"
    ):
        load()
