"""What a drawn request must not have by accident."""

import itertools
import re
import uuid

import jsonschema_rs
import schemathesis
from email_validator import EmailNotValidError, validate_email
from hypothesis import strategies
from schemathesis import Case, HookContext

PATIENT = "9"
SECONDS = re.compile(r"(?=.*[1-9])[0-9]+(\.[0-9]+)?")  # that Request-Timeout takes
RUN, NUMBERS = uuid.uuid4().hex, itertools.count()


_is_valid = jsonschema_rs.Draft202012Validator({"format": "email"}, validate_formats=True).is_valid


def _may_exist(address: str) -> bool:
    """Not under a name that is reserved for no use at all, such as .test (RFC 6761).

    And not one that Schemathesis' own validator takes for invalid though it is valid, such as
    N@a.xN--fJq720a (punycode in capitals): a body would be "invalid" because of it alone.
    """
    try:
        validate_email(address, check_deliverability=False)
    except EmailNotValidError:
        return False
    return _is_valid(address)


schemathesis.openapi.format("email", strategies.emails().filter(_may_exist))


@schemathesis.hook
def map_case(_: HookContext, case: Case) -> Case:
    """Requests wait long enough for an answer; valid ones have a key of their own, and no token.

    A short `Request-Timeout` is answered by 503, a key that was used for another request by 422,
    and a token that was not made here by 400, which no pattern can say (schemathesis.toml has it
    for reads): all are right, and tested elsewhere. What is meant to be invalid stays as it is.
    """
    mode = case.meta.generation.mode if case.meta else None
    if case.headers and SECONDS.fullmatch(case.headers.get("Request-Timeout") or ""):
        case.headers["Request-Timeout"] = PATIENT
    if mode is not None and mode.is_positive and case.headers:
        if case.method != "GET":
            case.headers.pop("Consistency-Token", None)
        if "Idempotency-Key" in case.headers:
            case.headers["Idempotency-Key"] = f'"{RUN}-{next(NUMBERS)}"'
        # Schemathesis 4.32 takes an empty one for valid, whatever the pattern.
        if case.headers.get("If-Match") == "":
            case.headers["If-Match"] = "*"
    return case


@schemathesis.hook
def filter_case(_: HookContext, case: Case) -> bool:
    """Leave out what is invalid only until it is sent.

    The space around a header's value is not part of it (RFC 9110, 5.5), and to the edge an empty
    `Idempotency-Key` is none.
    """
    values = [value for value in (case.headers or {}).values() if isinstance(value, str)]
    return all(value and value == value.strip() for value in values)
