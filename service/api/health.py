"""/health for HAProxy, /livez for the container, /metrics for Prometheus. None touches a database.

/health answers from what is known already, so it is as fast while the database is a black hole. An
instance leaves rotation only when it stops, or when it has served neither route for longer than
the grace: a failover empties the rotation of nothing, as requests are held through it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.database import Database, Role
from service.database.endpoint import EndpointState

if TYPE_CHECKING:
    from service.lifecycle import Lifecycle
    from service.settings import Settings

router = APIRouter(tags=["operation"])

IN_ROTATION = frozenset({"ok", "stale", "degraded", "waiting"})


def judge(
    state: Mapping[Role, EndpointState], *, draining: bool, grace: float, stale_after: float
) -> str:
    """Return the status of an instance, whose endpoints are in `state`.

    `grace` and `stale_after` in seconds. In rotation are `ok`, `stale` (a route served when it was
    last heard of, which is too long ago: neither a request nor its prober has used it since),
    `degraded` (one route down) and `waiting` (both, for less than the grace); out of it `starting`
    (served nothing yet), `unavailable`, `draining`.
    """
    if draining:
        return "draining"
    serving = [each for each in state.values() if each.serves]
    if serving:
        if any((each.unknown_for or 0) > stale_after for each in serving):
            return "stale"
        return "ok" if len(serving) == len(state) else "degraded"
    unserved = [each.unserved_for for each in state.values() if each.unserved_for is not None]
    if not unserved:
        return "starting"
    return "waiting" if min(unserved) <= grace else "unavailable"


@router.get("/health", responses={503: {"description": "Out of rotation; same body"}})
async def health(request: Request) -> JSONResponse:
    """Say whether this instance takes requests, and what it reaches."""
    settings = cast("Settings", request.app.state.settings)
    lifecycle = cast("Lifecycle", request.app.state.lifecycle)
    database = cast("Database", request.app.state.database)
    state = database.state
    status = judge(
        state,
        draining=lifecycle.draining,
        grace=settings.health_grace,
        stale_after=database.stale_after,
    )
    body = {
        "status": status,
        "instance": settings.app_name,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "routes": {str(role): _describe(each) for role, each in state.items()},
    }
    return JSONResponse(body, 200 if status in IN_ROTATION else 503)


def _describe(state: EndpointState) -> dict[str, Any]:
    return {
        "serves": state.serves,
        "reason": state.reason,
        "unserved_seconds": _rounded(state.unserved_for),
        "unknown_seconds": _rounded(state.unknown_for),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


@router.get("/livez")
async def livez() -> dict[str, str]:
    """Say that the process is alive: the event loop turns."""
    return {"status": "alive"}


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Return the metrics, in Prometheus's text format."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
