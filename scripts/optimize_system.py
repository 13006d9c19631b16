"""Make the host ready for N sessions: diagnose, show what would change, ask, apply, verify, report;
and take it back.

  sudo python3 scripts/optimize_system.py               diagnosis, plan, question, application
  python3 scripts/optimize_system.py                    without root: diagnosis and plan alone
  sudo python3 scripts/optimize_system.py --rollback    put back exactly what was found before the
                                                        first application
  python3 scripts/optimize_system.py --root DIR --yes   the same for an image: its files only, no
                                                        kernel value

Writes system_optimization_report.txt and .json into the report directory. Exit status: 0 nothing
critical is left, 1 something critical is left or could not be done, 2 it was used wrongly or
refused, 130 interrupted (and nothing is half-done).
"""

if __name__ == "__main__":  # the system's Python has neither the project nor its packages
    __import__(
        "scripts.project_python" if __package__ else "project_python", fromlist=["enter"]
    ).enter()

import argparse
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from supervisor.host.needs.requirements import SESSIONS_DEFAULT, SESSIONS_MOST, Severity
from supervisor.host.tuning.platforms import (
    ForeignLimit,
    Platform,
    diagnose_foreign,
    foreign_lines,
    platform_of,
)
from supervisor.host.tuning.report_files import json_text, write_report

if TYPE_CHECKING:  # these need Linux
    from supervisor.host.tuning.optimizer import OptimizationResult, SystemOptimizer

TEXT_FILE: Final = "system_optimization_report.txt"
JSON_FILE: Final = "system_optimization_report.json"
GOOD, NOT_GOOD, MISUSE, INTERRUPTED = 0, 1, 2, 130
AS_ROOT: Final = (
    "Run it as root to apply this: sudo python3 scripts/optimize_system.py --sessions {sessions}"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The script. The exit status is in the module's docstring."""
    try:
        options = _options(arguments)
        if platform_of() is not Platform.LINUX:
            return _foreign(options)
        return _linux(options)
    except KeyboardInterrupt:
        _say("Interrupted. Nothing is half-done: either all of it was applied, or nothing.")
        return INTERRUPTED
    except BrokenPipeError:
        _print_no_more()  # who reads us has gone
        return NOT_GOOD


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Make the host ready for N sessions.", allow_abbrev=False
    )
    parser.add_argument(
        "--sessions",
        type=_sessions,
        default=SESSIONS_DEFAULT,
        metavar="N",
        help=f"default {SESSIONS_DEFAULT}",
    )
    parser.add_argument("--yes", action="store_true", help="apply without a question")
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be done, change nothing"
    )
    parser.add_argument(
        "--rollback",
        action="store_true",
        help="put back what was found before the first application",
    )
    parser.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="an image or another file tree"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="the report as JSON on standard output, and nothing else there",
    )
    parser.add_argument(
        "--report-dir",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="default: the working directory",
    )
    options = parser.parse_args(arguments)
    if not options.report_dir.is_dir():
        parser.error(f"the report directory {options.report_dir} is not there")
    if options.dry_run and options.yes:
        parser.error("--dry-run changes nothing and --yes applies: which of them?")
    return options


def _sessions(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:10]) <= SESSIONS_MOST:
        raise argparse.ArgumentTypeError(
            f"{text[:20]!r} is no number of sessions from 1 to {SESSIONS_MOST:,}"
        )
    return int(text)


def _print_no_more() -> None:
    """Python would complain once more when it flushes at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    """To the operator, beside the report."""
    print(text, file=sys.stderr, flush=True)


# ---- Linux


def _linux(options: argparse.Namespace) -> int:
    from supervisor.host.tuning.journal import UnusableJournal
    from supervisor.host.tuning.optimizer import Busy, NoSystem, SystemOptimizer

    try:
        optimizer = SystemOptimizer(options.sessions, options.root)
        return _roll_back(optimizer, options) if options.rollback else _optimize(optimizer, options)
    except (Busy, NoSystem, UnusableJournal) as error:
        _say(f"optimize_system: {error}")
        return MISUSE
    except BrokenPipeError:
        raise
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _say(f"optimize_system: {place}{error.strerror or error}. Nothing was changed.")
        return NOT_GOOD


def _optimize(optimizer: "SystemOptimizer", options: argparse.Namespace) -> int:
    from supervisor.host.tuning.optimizer import Action
    from supervisor.host.tuning.report import plan_lines, report_text

    looked = optimizer.look()
    why_not = _why_not(looked, options)
    if looked.action is Action.PLANNED and not options.json and (why_not or not options.yes):
        print(report_text(looked), flush=True)
    if why_not:
        if looked.action is Action.PLANNED:
            _say(why_not)
        return _finish(looked, options, show=looked.action is Action.NOTHING)
    if looked.action is Action.PLANNED and options.json and not options.yes:
        _say("\n".join(plan_lines(looked.plan)))  # what is asked about has to be seen
    if looked.action is Action.PLANNED and not options.yes and not _confirmed("Apply this?"):
        _say("Nothing was changed.")
        return _finish(looked, options, show=False)
    return _finish(optimizer.apply(), options, show=True)


def _why_not(looked: "OptimizationResult", options: argparse.Namespace) -> str:
    """Why nothing is applied. Empty: it may be."""
    if options.dry_run:
        return "A dry run: nothing was changed."
    if looked.root == "/" and os.geteuid() != 0:
        return f"Not root: nothing was changed. {AS_ROOT.format(sessions=options.sessions)}"
    if not options.yes and not sys.stdin.isatty():
        return "No terminal to ask on: nothing was changed. Add --yes to apply it."
    return ""


def _roll_back(optimizer: "SystemOptimizer", options: argparse.Namespace) -> int:
    from supervisor.host.tuning.journal import JOURNAL_FILE

    looked = optimizer.look()
    if looked.root == "/" and os.geteuid() != 0:
        _say(
            "Not root: nothing was changed. Run it as root: sudo python3 scripts/optimize_system.py"
            " --rollback"
        )
        return MISUSE
    if options.dry_run and (Path(looked.root) / JOURNAL_FILE).exists():
        _say(
            "A dry run: nothing was changed. What would be put back stands in"
            f" {Path(looked.root) / JOURNAL_FILE}."
        )
        return GOOD
    if options.dry_run:
        _say("Nothing to roll back: this optimizer has changed nothing here.")
        return GOOD
    if (
        not options.yes
        and sys.stdin.isatty()
        and not _confirmed("Put back what was found before the first run?")
    ):
        _say("Nothing was changed.")
        return GOOD
    result = optimizer.rollback()
    if not result.done and not result.failures:
        _say("Nothing to roll back: this optimizer has changed nothing here.")
    _finish(result, options, show=True)
    # What was critical before us may be critical again: that is what was asked for.
    return NOT_GOOD if result.failures else GOOD


def _confirmed(question: str) -> bool:
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _finish(result: "OptimizationResult", options: argparse.Namespace, *, show: bool) -> int:
    """Print and write the report."""
    from supervisor.host.tuning.report import report_document, report_text

    text, document = report_text(result), json_text(report_document(result))
    # first: who reads our output may have gone
    status = _write_reports(options.report_dir, text, document)
    try:
        if options.json:
            print(document, end="", flush=True)
        elif show:
            print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        _say(
            f"The report could not be printed ({error.strerror}). What was done stands in its"
            " files, if there is a line about them above."
        )
        _print_no_more()
        return NOT_GOOD
    return status if result.good else NOT_GOOD


# ---- other systems


def _foreign(options: argparse.Namespace) -> int:
    platform = platform_of()
    if platform is Platform.OTHER:
        _say(
            f"optimize_system: {sys.platform} is not supported (Linux; macOS and Windows for a"
            " diagnosis)."
        )
        return MISUSE
    if options.rollback or options.root != Path("/"):
        _say(
            f"optimize_system: --rollback and --root are for Linux; on {platform} nothing is ever"
            " changed."
        )
        return MISUSE
    limits = diagnose_foreign(platform, options.sessions)
    text = "\n".join(foreign_lines(limits, platform)) + "\n"
    document = json_text(
        {
            "platform": str(platform),
            "sessions": options.sessions,
            "limits": [_foreign_document(limit) for limit in limits],
        }
    )
    print(document if options.json else text, end="", flush=True)
    status = _write_reports(options.report_dir, text, document)
    return NOT_GOOD if any(limit.severity is Severity.CRITICAL for limit in limits) else status


def _foreign_document(limit: ForeignLimit) -> dict[str, object]:
    """JSON has no infinity."""
    return asdict(limit) | {"current": "unlimited" if limit.current == math.inf else limit.current}


def _write_reports(directory: Path, text: str, document: str) -> int:
    """A report that cannot be written is told; what was applied stays."""
    try:
        written = write_report(directory, {TEXT_FILE: text, JSON_FILE: document})
    except OSError as error:
        _say(f"The report could not be written into {directory.resolve()}: {error.strerror}.")
        return NOT_GOOD
    _say(f"Report: {', '.join(str(file) for file in written)}")
    return GOOD


if __name__ == "__main__":
    raise SystemExit(main())
