"""`wasup alerts channels|check|test|reload`: by which ways alerts are told, and the operator's file
that says so.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from supervisor.cli.common.exits import EXIT_CONFIG, EXIT_FAILED, EXIT_USAGE, fail
from supervisor.cli.common.options import Json
from supervisor.cli.common.output import say, show, show_json
from supervisor.cli.common.reach import configuration, must_run, running
from supervisor.settings import Settings, variable

OVER_THE_FILE: Final[Mapping[str, str]] = {
    "profile": "alert_profile",
    "quiet hours": "alert_quiet_hours",
    "maintenance windows": "maintenance_windows",
    "told again after hours": "alert_repeat_hours",
    "cpu": "cpu_threshold",
    "cpu_critical": "cpu_critical_threshold",
    "memory": "memory_threshold",
    "memory_critical": "memory_critical_threshold",
    "disk": "disk_threshold",
    "disk_critical": "disk_critical_threshold",
    "error_rate": "error_rate_threshold",
    "error_rate_critical": "error_rate_critical_threshold",
    "response_time_ms": "response_time_threshold",
    "response_time_ms_critical": "response_time_critical_threshold",
    "descriptors": "descriptor_threshold",
    "load": "load_threshold",
    "down_seconds": "down_alert_after",
    "flapping_closes": "flapping_alert_closes",
}
"""The settings that count more than what the file says."""
TEST_SECONDS: Final = 90.0
"""For so long all channels together may take."""


def channels(as_json: Json = False) -> None:
    """Show by which channels alerts are told, and whether they work."""
    seen = must_run().every("/alerts/channels", "channels")
    if as_json:
        show_json(seen)
        return
    if not seen["channels"]:
        say("Alerts go to the log, data/logs/alerts.log, the live feed and GET /alerts alone.")
        return
    from rich.table import Table

    table = Table("channel", "last success", "failing since", "why", box=None)
    for one in seen["channels"]:
        table.add_row(
            one["name"],
            one["lastSuccessAt"] or "none yet",
            one["failingSinceAt"] or "",
            one["lastError"] or "",
        )
    show(table)


def check(
    file: Annotated[
        Path | None, typer.Option("--file", help="This file in place of WHATSAPP_ALERTS_FILE.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether a file of alerts can be used, and who would be told what by it. Sends nothing."""
    import msgspec

    from supervisor.alerts.channels.live_alerts_file import AlertsFileView, view

    settings = configuration()
    read = _file(settings, file)
    seen: AlertsFileView = view(read, settings.alerting_config(read).language)
    seen = msgspec.structs.replace(seen, warnings=[*seen.warnings, *read.doubts])
    if as_json:
        show_json(msgspec.to_builtins(seen))
        return
    say(f"{seen.file} can be used.")
    for warning in seen.warnings:
        say(f"  {warning}")
    for one in seen.channels:
        say(
            f"  {one.channel} ({one.type}) tells {one.told}: {' and '.join(one.severity_levels)},"
            f" in {one.language}, " + (f"{one.hours}" if one.hours else "at any hour")
        )
    if not seen.channels:
        say("  It tells nobody: it has no channel that is enabled.")
    shown = {
        "profile": seen.profile,
        "quiet hours": seen.quiet_hours,
        "maintenance windows": seen.maintenance_windows,
        "told again after hours": seen.repeat_hours,
        "sign of life to an outside watcher": "yes" if seen.heartbeat else None,
    }
    for name, value in {**shown, **seen.thresholds}.items():
        if value is not None:
            words = f"{value:g}" if isinstance(value, float) else f"{value}"
            field = OVER_THE_FILE.get(name, "")
            over = field in settings.model_fields_set
            say(f"  {name}: {words}" + (f" ({variable(field)} counts instead)" if over else ""))


def send_test(
    channel: Annotated[
        str | None, typer.Argument(metavar="CHANNEL", help="Its name. Else all of them.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send a test by each channel, or by one, and say what came of it.

    By the supervisor where one runs, else from here; WhatsApp needs it.
    """
    settings = configuration()
    if running(settings) is not None:
        client = must_run(settings, TEST_SECONDS)
        body = {} if channel is None else {"channel": channel}
        results = client.call("POST", "/alerts/channels/test", body)["channels"]
    else:
        results = _tested_here(settings, channel)
    if as_json:
        show_json({"channels": results})
    for one in () if as_json else results:
        if one["delivered"]:
            say(f"{one['channel']} ({one['type']}): it was delivered.")
        else:
            say(f"{one['channel']} ({one['type']}): it was NOT delivered: {one['problem']}.")
    if not results:
        fail("There is no channel: WHATSAPP_ALERTS_FILE names a file of them.", EXIT_USAGE)
    if not all(one["delivered"] for one in results):
        raise typer.Exit(EXIT_FAILED)


def reload(as_json: Json = False) -> None:
    """Have the running supervisor read its file of alerts again; a bad file changes nothing."""
    answer = must_run().call("POST", "/alerts/file/reload")
    if as_json:
        show_json(answer)
        return
    changed = answer["changed"]
    say("Reloaded; nothing differs." if not changed else "Reloaded; from now on:")
    for sentence in changed:
        say(f"  {sentence}")


def _tested_here(settings: Settings, channel: str | None) -> list[Any]:
    import msgspec

    from supervisor.alerts.channels.own_channels import ChannelNotFound, tested_alone

    file = _file(settings, None)
    config = settings.alerting_config(file)
    try:
        found = asyncio.run(tested_alone(file, channel, config))
    except ChannelNotFound as error:
        fail(f"{error}", EXIT_USAGE)
    return list(msgspec.to_builtins(found))


def _file(settings: Settings, file: Path | None) -> Any:
    """The file's content, or the end of the command."""
    from supervisor.alerts.channels.alerts_file import BadAlertsFile, read_alerts_file

    path = file or settings.alerts_file
    if path is None:
        fail("Say which file: --file, or WHATSAPP_ALERTS_FILE.", EXIT_USAGE)
    try:
        return read_alerts_file(path)
    except BadAlertsFile as error:
        fail(f"{error}\n{error.hint}", EXIT_CONFIG)
