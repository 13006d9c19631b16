"""Reports: how it went in a day, a week, a month, or from a moment to another."""

import time
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from api.errors import BadRequest
from api.parts import REPORTER
from api.responses import JSON, moment, negotiate, query
from supervisor.alerts.notices import Language
from supervisor.reports.period import Period, Regular, between, last
from supervisor.reports.reporter import Form, Reporter

MEDIA: Final[dict[Form, str]] = {
    "json": JSON,
    "html": "text/html",
    "pdf": "application/pdf",
    "text": "text/plain",
}
_FORMS: Final[dict[str, Form]] = {media: form for form, media in MEDIA.items()}
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""A report has no script and loads nothing; so nothing that stands in one could do either."""
_Moment = Annotated[
    str, Meta(max_length=64, description="A moment, ISO 8601: 2027-01-31T08:00:00Z.")
]


class ReportQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which report is asked for."""

    period: (
        Annotated[
            Regular,
            Meta(description="The last whole day, week or month; daily if nothing is said."),
        ]
        | UnsetType
    ) = UNSET
    begin: _Moment | UnsetType = msgspec.field(name="from", default=UNSET)
    end: _Moment | UnsetType = msgspec.field(name="to", default=UNSET)
    format: Annotated[Form, Meta(description="In place of what `Accept` says.")] | UnsetType = UNSET
    language: (
        Annotated[Language, Meta(description="Of all but JSON; if not said: WHATSAPP_LANGUAGE.")]
        | UnsetType
    ) = UNSET


async def get_report(request: web.Request) -> web.Response:
    """How it went in the last whole day, week or month (`?period=`), or from a moment to another
    (`?from=&to=`; without `to`: until now): figures, service levels, what kept sessions away, and
    what to do.

    `Accept`, or `format`, chooses JSON, a page, PDF or text; the last three in `language`.
    """
    asked, reporter = query(request, ReportQuery), request.app[REPORTER]
    if asked.format is UNSET:
        form = _FORMS[negotiate(request.headers.get("Accept", ""), _FORMS)]
    else:
        form = asked.format
    period = _period(asked, reporter)
    language = None if asked.language is UNSET else asked.language
    name = f"wasup-{period.name}.{'txt' if form == 'text' else form}"
    return web.Response(
        body=await reporter.file(period, form, language),
        content_type=MEDIA[form],
        charset=None if form == "pdf" else "utf-8",
        headers={
            "Content-Disposition": f'inline; filename="{name}"',
            "Content-Security-Policy": _POLICY,
            "Vary": "Accept",
        },
    )


def _period(asked: ReportQuery, reporter: Reporter) -> Period:
    """Raises BadRequest, InvalidReportPeriod."""
    now = time.time()
    if asked.begin is UNSET and asked.end is UNSET:
        return last("daily" if asked.period is UNSET else asked.period, now, reporter.zone)
    if asked.period is not UNSET:
        raise BadRequest("Both `period` and a time are given.", "Give one of the two.")
    if asked.begin is UNSET:
        raise BadRequest("`to` is given without `from`.", "Say from when on: from=2027-01-31T...")
    end = now if asked.end is UNSET else moment("to", asked.end)
    return between(moment("from", asked.begin), end, now, reporter.zone)
