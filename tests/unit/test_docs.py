"""The documents are true: generated ones are up to date, and everything an operator may need is named somewhere."""

import re

import pytest

from api.routes import ROUTES
from scripts.generate_docs import ROOT, documents
from sessions.model import CloseReason, SessionState
from supervisor.settings import Settings, variable

READMES = ["README.md", "README.pt-BR.md"]


def text(*names: str) -> str:
    return "\n".join((ROOT / name).read_text(encoding="utf-8") for name in names)


def test_generated_documents_are_up_to_date() -> None:
    stale = [path.name for path, wanted in documents().items() if path.read_text(encoding="utf-8") != wanted]
    assert stale == [], "run python -m scripts.generate_docs"


def test_every_setting_route_reason_and_state_is_documented() -> None:
    reference = text("docs/reference.md")
    wanted = [variable(name) for name in Settings.model_fields]
    wanted += [f"{route.method} {route.path}" for route in ROUTES]
    wanted += [*CloseReason, *SessionState]
    assert [name for name in wanted if f"`{name}`" not in reference] == []


def test_every_close_reason_is_explained_where_it_is_made() -> None:
    wire = text("docs/wire.md")
    assert [reason for reason in CloseReason if f"`{reason}`" not in wire] == []


@pytest.mark.parametrize("readme", READMES)
def test_the_readme_names_no_setting_that_does_not_exist(readme: str) -> None:
    named = set(re.findall(r"WHATSAPP_[A-Z_]+[A-Z]", text(readme, "CONTRIBUTING.md", "ARCHITECTURE.md")))
    assert named - {variable(name) for name in Settings.model_fields} == set()


@pytest.mark.parametrize("readme", READMES)
def test_the_readme_explains_every_state_an_operator_sees(readme: str) -> None:
    shown = text(readme)
    assert [state for state in SessionState if f"`{state}`" not in shown] == []


@pytest.mark.parametrize("document", [*READMES, "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_between_documents_lead_somewhere(document: str) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", text(document))
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("target", ["setup", "demo", "run", "test", "check", "bench", "chaos", "kills"])
def test_every_make_target_is_explained_by_make_itself(target: str) -> None:
    assert re.search(rf"^{target}:.*## ", text("Makefile"), re.MULTILINE)
