"""The six validations of the tuning guide against this host, as it is for a plain process:
descriptors, memory, TCP, network, connections, CPU at rest and under their load; and its measures
of success, before the tuning, after it, and here.

  python3 scripts/test_system_optimization.py [--connections 500] [--json] [--report-dir DIR]

It opens real connections on loopback and changes nothing, not even its own limits: start it as the
supervisor is started. Writes system_optimization_test_report.txt and .json. Exit status: 0 all
passed, 1 some did not, 2 it was used wrongly, 130 interrupted.
"""

if __name__ == "__main__":  # the system's Python has neither the project nor its packages
    __import__(
        "scripts.project_python" if __package__ else "project_python", fromlist=["enter"]
    ).enter()

import argparse
import asyncio
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from supervisor.host.numbers import whole
from supervisor.host.tuning.platforms import Platform, platform_of
from supervisor.host.tuning.report_files import json_text, write_report

if TYPE_CHECKING:  # this needs Linux
    from supervisor.host.tuning.validation import Validation

TEXT_FILE: Final = "system_optimization_test_report.txt"
JSON_FILE: Final = "system_optimization_test_report.json"
GOOD, NOT_GOOD, MISUSE, INTERRUPTED = 0, 1, 2, 130
CONNECTIONS_MOST: Final = 28_000
"""All go to one port of one address, so each takes a port of the local range, which has 28,232 by
default.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The script. The exit status is in the module's docstring."""
    options = _options(arguments)
    if platform_of() is not Platform.LINUX:
        print(
            f"The validations read Linux's /proc; on {sys.platform} use optimize_system.py.",
            file=sys.stderr,
        )
        return MISUSE
    try:
        return _validate(options)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Validate this host for many connections.", allow_abbrev=False
    )
    wanted = whole("connections_test")
    parser.add_argument(
        "--connections", type=_connections, default=wanted, metavar="N", help=f"default {wanted}"
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
    return options


def _connections(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:10]) <= CONNECTIONS_MOST:
        raise argparse.ArgumentTypeError(
            f"{text[:20]!r} is no number of connections from 1 to {CONNECTIONS_MOST:,}"
        )
    return int(text)


def _validate(options: argparse.Namespace) -> int:
    from supervisor.host.tuning.success import success_text, successes
    from supervisor.host.tuning.validation import validate

    if not options.json:
        print(
            "Six validations; the CPU at rest takes some seconds ...", file=sys.stderr, flush=True
        )
    results = asyncio.run(validate(options.connections))
    passed = all(result.passed for result in results)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    success = successes(results)
    text = f"{report_text(results, at)}\n{success_text(success)}"
    document = json_text(
        {
            "at": at,
            "passed": passed,
            "validations": [_document(result) for result in results],
            "success": [asdict(row) for row in success],
        }
    )
    print(document if options.json else text, end="", flush=True)
    try:
        written = write_report(options.report_dir, {TEXT_FILE: text, JSON_FILE: document})
    except OSError as error:
        print(
            f"The report could not be written into {options.report_dir}: {error.strerror}.",
            file=sys.stderr,
        )
        return NOT_GOOD
    print(f"Report: {', '.join(str(file) for file in written)}", file=sys.stderr)
    return GOOD if passed else NOT_GOOD


def _document(result: "Validation") -> dict[str, object]:
    fields = asdict(result)
    fields["whatToDo"] = fields.pop("what_to_do")
    return fields


def report_text(results: "Sequence[Validation]", at: str) -> str:
    """The report. `at`: when, for the reader."""
    passed = sum(result.passed for result in results)
    lines = [f"System validation at {at}: {passed} of {len(results)} passed", ""]
    for result in results:
        lines.append(
            f"{'PASSED' if result.passed else 'FAILED'}  {result.name}: {result.criterion}"
        )
        lines += [
            f"          {name}: {'-' if value is None else value}"
            for name, value in result.measured.items()
        ]
        if result.what_to_do:
            mark = "        -> "
            lines += textwrap.wrap(
                result.what_to_do,
                100,
                initial_indent=mark,
                subsequent_indent=" " * len(mark),
                break_long_words=False,
                break_on_hyphens=False,
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
