"""pm2's file, read by the machine's own Node: as old as Debian 12's, and finding the data where the
supervisor will.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from dotenv import dotenv_values

from scripts.lab.processes import NODE, ROOT

AN_OLD_NODE = "delete require('node:util').parseEnv; delete require('node:process').loadEnvFile;"
"""Node 18, which Debian 12 has, knows neither."""


def log_file(folder: Path, **environment: str) -> Path:
    """Where pm2 would write, by the file in that folder."""
    code = f"{AN_OLD_NODE} console.log(JSON.stringify(require('./ecosystem.config.js').apps[0]))"
    bare = {
        name: value for name, value in os.environ.items() if not name.startswith("WHATSAPP_")
    } | environment
    done = subprocess.run(
        [NODE, "-e", code], cwd=folder, env=bare, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    app = json.loads(done.stdout)
    assert app["out_file"] == app["error_file"]
    return Path(app["out_file"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "ecosystem.config.js", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "WHATSAPP_API_PORT=4001\n",
        "WHATSAPP_DATA_DIR=numbers",
        "WHATSAPP_DATA_DIR=first\nWHATSAPP_DATA_DIR=second\n",
        "export WHATSAPP_DATA_DIR = numbers # the big disk\r\nWHATSAPP_API_PORT=1\r\n",
        "WHATSAPP_DATA_DIR='my numbers'\n",
        'WHATSAPP_DATA_DIR="my numbers"  # here\n',
        "# WHATSAPP_DATA_DIR=not-this\nWHATSAPP_DATA_DIR=a#b\n",
        "OLD_WHATSAPP_DATA_DIR=not-this\n",
        "WHATSAPP_DATA_DIR=\n",
    ],
)
def test_an_old_node_finds_the_data_where_the_supervisor_does(text: str, folder: Path) -> None:
    (folder / ".env").write_text(text)
    told = dotenv_values(folder / ".env").get("WHATSAPP_DATA_DIR") or "data"
    assert log_file(folder) == folder / told / "logs" / "supervisor.log"
    assert (folder / told / "logs").stat().st_mode & 0o077 == 0, (
        "pm2 would make it readable for everybody"
    )


def test_the_environment_wins_and_a_home_is_a_home(folder: Path, tmp_path: Path) -> None:
    (folder / ".env").write_text("WHATSAPP_DATA_DIR=numbers\n")
    assert (
        log_file(folder, WHATSAPP_DATA_DIR=str(tmp_path / "own"))
        == tmp_path / "own" / "logs" / "supervisor.log"
    )
    home = tmp_path / "home"
    assert (
        log_file(folder, WHATSAPP_DATA_DIR="~/own", HOME=str(home))
        == home / "own" / "logs" / "supervisor.log"
    )
