"""Calls as the API describes them, right ones and wrong ones, made by schemathesis from
`/openapi.json`. Every answer is one that the description has; what it forbids is refused.
"""

import random
import re
from typing import Any, Final

import hypothesis
import requests
import schemathesis
from hypothesis import strategies
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import negative_data_rejection

from scripts.fuzz.http import ALLOWED_503
from scripts.fuzz.stage import Stage
from scripts.lab.conformity import Undeclared, check
from supervisor.watch.memory_tracing import MOST_SECONDS as LONGEST_TRACE_SECONDS

Call = APIOperation[Any, Any, Any, Any]

CALLS_IN_A_ROUND: Final = 10
SESSIONS: Final = ("a", "b")
"""Those that exist, so that not every call ends with a 404."""
NAME: Final = re.compile("[A-Za-z0-9_.-]{1,64}")
MOST_WAIT_SECONDS: Final = 0.05
TRACED: Final = "/debug/memory"
"""Whose answer comes when its `seconds` are over."""
ANSWER_SECONDS: Final = 30.0
TOO_LARGE: Final = frozenset({413, 414})
REFUSALS: Final[list[CheckFunction]] = [negative_data_rejection]


class Calls:
    """Calls of one supervisor. `made`: how many so far."""

    def __init__(self, stage: Stage) -> None:
        self.made = 0
        self._api = stage.supervisor.api
        self._http = requests.Session()
        described = schemathesis.openapi.from_url(f"{self._api}/openapi.json")
        self._calls = [
            found.ok() for found in described.get_all_operations() if isinstance(found, Ok)
        ]
        self._can_be_wrong = [
            call for call in self._calls if call.path_parameters or call.query or call.body
        ]

    def throw(self, rng: random.Random) -> str | None:
        """Some calls of one kind, right or wrong; what is wrong with an answer."""
        for session in SESSIONS:  # unless an earlier call has deleted it, there it is
            self._http.post(f"{self._api}/sessions", json={"id": session, "start": False})
        wrong = rng.random() < 0.5
        call = rng.choice(self._can_be_wrong if wrong else self._calls)
        mode = GenerationMode.NEGATIVE if wrong else GenerationMode.POSITIVE

        @hypothesis.seed(rng.randrange(2**32))
        @hypothesis.settings(
            max_examples=CALLS_IN_A_ROUND if wrong or call in self._can_be_wrong else 1,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(
            call.as_strategy(generation_mode=mode), strategies.sampled_from((*SESSIONS, None))
        )
        def some(case: Case[Call], session: str | None) -> None:
            self._make(_bounded(case, session))

        try:
            some()
        except (AssertionError, Failure, FailureGroup) as error:
            return f"{call.label}: {_words(error)}"
        except hypothesis.errors.Unsatisfiable:
            if not wrong:
                raise
            # any word may stand in its path: there is no wrong one to be made
        return None

    def _make(self, case: Case[Call]) -> None:
        response = case.call(self._api, session=self._http, timeout=ANSWER_SECONDS)
        self.made += 1
        kind = response.headers.get("content-type", [""])[0].partition(";")[0]
        body: Any = response.json() if kind == "application/json" else response.text
        status = response.status_code
        path = case.formatted_path
        if status >= 500 and not (status == 503 and body["error"]["code"] in ALLOWED_503):
            raise Undeclared(f"{case.as_curl_command()}: {status} {body}")
        check(case.method, path, status, kind, body)
        if status not in TOO_LARGE:  # refused as well, by a status that the check does not know
            case.validate_response(response, checks=REFUSALS)


def _bounded(case: Case[Call], session: str | None) -> Case[Call]:
    """The same, of a session that exists; it waits for little and starts nothing."""
    if session is not None and NAME.fullmatch(case.path_parameters.get("id", "")):
        case.path_parameters["id"] = session  # one that is no name at all stays what is wrong
    query = case.query
    wait = query.get("wait")
    if isinstance(wait, int | float) and MOST_WAIT_SECONDS < wait <= 60:
        query["wait"] = MOST_WAIT_SECONDS
    if case.path == TRACED:
        seconds = query.get("seconds", LONGEST_TRACE_SECONDS)
        if (
            isinstance(seconds, int | float)
            and MOST_WAIT_SECONDS < seconds <= LONGEST_TRACE_SECONDS
        ):
            query["seconds"] = MOST_WAIT_SECONDS
    if isinstance(case.body, dict) and case.body.get("start", True) is True:
        case.body["start"] = False
    return case


def _words(error: BaseException) -> str:
    parts: list[Any] = list(error.exceptions) if isinstance(error, FailureGroup) else [error]
    return "; ".join(" ".join(str(one).split())[:1500] for one in parts)
