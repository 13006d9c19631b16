"""What a page tells a reader to type exists: commands with their options, routes, fields, settings,
files, links and headings; and a line of prose holds one sentence, so that a diff shows which one changed.
"""

import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from typer.main import get_command

from api.routes import ROUTES
from scripts.generate_docs import CLOSE_REASONS, REFERENCE, ROOT
from supervisor.cli.cli import app as commands
from supervisor.settings import Settings, variable

PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MANUALS: Final = [page for page in PAGES if page.name != "CHANGELOG.md"]
"""Pages that speak of what is, not of what was."""
WRITTEN: Final = [page for page in PAGES if page not in {REFERENCE, CLOSE_REASONS}]
"""Pages that people write; a generated one has its texts from the code."""

FOREIGN_ROOTS: Final = frozenset(
    {"etc", "proc", "sys", "var", "opt", "srv", "dev", "tmp", "usr", "home", "root", "bin"}
) | {"backup", "path", "caminho", "data"}
"""First parts of paths in a file system; what else begins with a slash is a route."""
ABBREVIATIONS: Final = re.compile(r"\b(?:e\.g|i\.e|etc|vs|ex|No|p\. ex|a\.m|p\.m)\.$")
NEXT_SENTENCE: Final = re.compile(r"[.!?][)\"'*_]* (?=[A-ZÀ-Ý*`\"'(])")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code_of(text: str) -> Iterator[str]:
    """Every piece of code: the lines of blocks, and what stands between backticks."""
    for number, part in enumerate(re.split(r"^ *```\w*$", text, flags=re.MULTILINE)):
        if number % 2:
            yield from part.splitlines()
        else:
            yield from re.findall(r"`([^`\n]+)`", part)


def prose_of(text: str) -> Iterator[str]:
    """Every line of prose: no block of code, table, heading or comment; inline code is masked."""
    for part in re.split(r"^ *```\w*$", text, flags=re.MULTILINE)[::2]:
        for line in part.splitlines():
            if line.strip() and not re.match(r"\s*(?:\||#|<|!\[)", line):
                yield re.sub(r"`[^`]*`", "`", line)


def sentences(line: str) -> int:
    """How many sentences a line holds; those within parentheses belong to the one around them."""
    ends = [
        match.start() + 1
        for match in NEXT_SENTENCE.finditer(line)
        if not ABBREVIATIONS.search(line[: match.start() + 1])
        and not re.match(r"\s*(?:[-*]|\d+\.)\s*$", line[: match.start() + 1])
    ]
    return 1 + sum(line[:end].count("(") <= line[: end + 1].count(")") for end in ends)


def unknown_command(words: list[str]) -> str | None:
    """What of a command line (without `wasup`) does not exist; None: all of it does."""
    command: Any = get_command(commands)
    while words:
        word = words.pop(0)
        if re.match(r"-+\w", word):
            option = word.split("=")[0]
            known = {name for parameter in command.params for name in parameter.opts}
            known |= {name for parameter in command.params for name in parameter.secondary_opts}
            if option not in known | {"--help", "-h", "--version"}:
                return option
            takes = [each for each in command.params if option in each.opts]
            if takes and not getattr(takes[0], "is_flag", False) and "=" not in word and words:
                words.pop(0)
        elif hasattr(command, "get_command"):
            if not re.fullmatch(r"[a-z][a-z-]*(?:\|[a-z-]+)*", word):
                return None  # COMMAND, ..., or the words of a sentence
            below = [command.get_command(None, name) for name in word.split("|")]
            if None in below:
                return word
            command = below[0]
    return None


def words_of(line: str) -> Iterator[list[str]]:
    """The words behind each `wasup` that is run in a line of code."""
    for part in re.split(r"&&|\|\||;|(?<=\s)[|](?=\s)|(?:^|\s)#", line):
        try:
            words = shlex.split(part)
        except ValueError:
            words = part.split()
        line_up = re.sub(r"^(?:\$ |sudo (?:-u \w+ )?|[A-Z_]+=\S* )*", "", " ".join(words))
        program, _, rest = line_up.partition(" ")
        if re.fullmatch(r"(?:.*/)?wasup", program):
            yield rest.split()


def unknown_route(call: str) -> bool:
    """Whether no route answers `METHOD /path`, or `/path` by any method."""
    method, _, path = call.rpartition(" ")
    path = re.split(r"[?#]", path)[0].rstrip("/.,") or "/"
    for route in ROUTES:
        pattern = re.sub(r"\{[^}]*\}", "[^/]+", route.path)
        if method in {"", route.method} and re.fullmatch(pattern, path):
            return False
    return True


def calls_of(line: str) -> Iterator[str]:
    """The routes that a line of code names."""
    yield from re.findall(r"\b(?:GET|POST|PUT|PATCH|DELETE) /[\w{}/.-]+", line)
    for path in re.findall(r"localhost:4001(/[\w{}/.-]*)", line):
        method = re.search(r"-X (\w+)", line)
        default = "POST" if re.search(r"\s-d\s", line) else "GET"
        yield f"{method.group(1) if method else default} {path}"
    if (match := re.fullmatch(r"/([\w-]+)[\w{}/-]*(?:\?\S*)?", line)) and match.group(
        1
    ) not in FOREIGN_ROOTS:
        yield line


@pytest.mark.parametrize("page", MANUALS, ids=name_of)
def test_every_command_that_a_page_shows_exists_with_its_options(page: Path) -> None:
    shown = [words for line in code_of(page.read_text("utf-8")) for words in words_of(line)]
    unknown = [
        (" ".join(words), what)
        for words in shown
        if (what := unknown_command([*words])) is not None
    ]
    assert unknown == []


@pytest.mark.parametrize("page", MANUALS, ids=name_of)
def test_every_route_that_a_page_shows_exists(page: Path) -> None:
    if page.name == "standin.md":
        pytest.skip("it has the stand-in's own routes")
    shown = [call for line in code_of(page.read_text("utf-8")) for call in calls_of(line)]
    assert [call for call in shown if unknown_route(call)] == []


@pytest.mark.parametrize("page", MANUALS, ids=name_of)
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"WHATSAPP_[A-Z_]+[A-Z]", page.read_text("utf-8")))
    assert named - {variable(name) for name in Settings.model_fields} == set()


@pytest.mark.parametrize("page", MANUALS, ids=name_of)
def test_every_field_of_the_api_that_a_page_names_is_in_the_code(page: Path) -> None:
    if page.name in {"wire.md", "standin.md", "benchmarks.md"}:
        pytest.skip("it speaks of other programs' fields")
    named = {
        field
        for line in code_of(page.read_text("utf-8"))
        for field in re.findall(r"(?<![\w/.@])[a-z]+(?:[A-Z][a-z0-9]+)+(?![\w(:-])", line)
    }
    known = fields_of_the_code() | (
        words_of_the_client() if page.name in {"client.md", "seeds.md"} else set()
    )
    assert sorted(named - known) == []


def words_of_the_client() -> set[str]:
    """Every word of the live feed's client, whose options one page is about."""
    files = (ROOT / "api" / "web" / "client").glob("*.js")
    return {word for file in files for word in re.findall(r"\w+", file.read_text("utf-8"))}


@functools.cache
def fields_of_the_code() -> set[str]:
    """Every word of the program's Python, as it is and in camelCase, as structs are sent."""
    words = {
        word
        for room in ("api", "sessions", "supervisor")
        for file in (ROOT / room).rglob("*.py")
        for word in re.findall(r"\w+", file.read_text("utf-8"))
    }
    return words | {re.sub(r"_([a-z0-9])", lambda m: m[1].upper(), word) for word in words}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    lost = []
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text("utf-8")):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("page", MANUALS, ids=name_of)
def test_every_file_and_folder_that_a_page_names_by_its_path_is_there(page: Path) -> None:
    """Paths from the top folder, as pages name them; what has a star or braces is a pattern, and a
    page's own matter.
    """
    named = set(
        re.findall(
            r"(?<![\w/.{])(?:scripts|supervisor|sessions|api|tests|docs)/[\w/.-]*"
            r"(?:\.(?:py|js|md|toml|sh|json|service)\b|(?<=/)(?=[`)\s]))",
            page.read_text("utf-8"),
        )
    )
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        links = re.findall(r"\]\((?!https?://)([^)#\s]+)", page.read_text("utf-8"))
        waiting += [(page.parent / link).resolve() for link in links]
    assert [name_of(page) for page in PAGES if page not in reached] == []


def anchors(page: Path) -> set[str]:
    """Headings as GitHub makes anchors of them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_a_line_of_prose_holds_one_sentence(page: Path) -> None:
    assert [line for line in prose_of(page.read_text("utf-8")) if sentences(line) > 1] == []


def test_what_does_not_exist_is_found() -> None:
    """These tests can fail."""
    assert unknown_command(["sessions", "lsit"]) == "lsit"
    assert unknown_command(["sessions", "list", "--nonsense"]) == "--nonsense"
    assert unknown_command(["sessions", "list", "--for-me"]) is None
    assert unknown_route("GET /session")
    assert unknown_route("DELETE /events")
    assert not unknown_route("POST /sessions/loja-1/start")
    assert list(calls_of("curl -X DELETE 'localhost:4001/sessions/a?purge=true'")) == [
        "DELETE /sessions/a"
    ]
    assert [*words_of("$ sudo -u wasup X=1 /opt/wasup/.venv/bin/wasup workers list # all")] == [
        ["workers", "list"]
    ]
    assert sentences("One. Two.") == 2
    assert sentences("One (a. B.) and e.g. Two.") == 1
