"""/health for HAProxy, /livez for the container, /metrics for Prometheus. None touches a database.

/health answers from what is known already, so it is as fast while the database is a black hole. An
instance leaves rotation only when it stops, or when it has served neither route for longer than
the grace: a failover empties the rotation of nothing, as requests are held through it. An instance
of several workers leaves it when all of them would (docs/decisions/0048-workers.md).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.database import Database, Role
from service.database.endpoint import EndpointState

if TYPE_CHECKING:
    from service.lifecycle import Lifecycle
    from service.settings import Settings
    from service.workers.peers import Peers

router = APIRouter(tags=["operation"])

IN_ROTATION = ("ok", "stale", "degraded", "waiting")  # from the best to the worst


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


def combine(statuses: Sequence[str]) -> str:
    """Return the status of an instance whose workers have these.

    It is in rotation while one of them is: the worst of those that are, and `degraded` at least if
    some are not. They are few and soon replaced, and connections go to those that accept them.
    """
    inside = [each for each in statuses if each in IN_ROTATION]
    if not inside:
        return "unavailable" if "unavailable" in statuses else "starting"
    if len(inside) < len(statuses):
        inside.append("degraded")
    return max(inside, key=IN_ROTATION.index)


def own_status(app: FastAPI) -> str:
    """Return the status of this process, whatever others there are."""
    database = cast("Database", app.state.database)
    return judge(
        database.state,
        draining=cast("Lifecycle", app.state.lifecycle).draining,
        grace=cast("Settings", app.state.settings).health_grace,
        stale_after=database.stale_after,
    )


@router.get("/health", responses={503: {"description": "Out of rotation; same body"}})
async def health(request: Request) -> JSONResponse:
    """Say whether this instance takes requests, and what it reaches."""
    state = request.app.state
    status = own_status(request.app)
    body = {
        "status": status,
        "instance": cast("Settings", state.settings).app_name,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "routes": {
            str(role): _describe(each)
            for role, each in cast("Database", state.database).state.items()
        },
    }
    if (peers := cast("Peers | None", state.peers)) is not None:
        peers.beat(status)
        statuses = peers.board.statuses()
        status = "draining" if peers.board.draining else combine(statuses)
        body |= {"status": status, "workers": statuses}
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
    peers = cast("Peers | None", request.app.state.peers)
    if peers is None:
        text = generate_latest(request.app.state.registry)
    else:
        text = await peers.metrics()
    return Response(text, media_type=CONTENT_TYPE_LATEST)
