"""/api/users: HTTP in, one call of the service, HTTP out."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from service.api.access import bearer
from service.api.conditions import IfMatch, IfNoneMatch, known, quote, tagged
from service.api.consistency import Announce, Seen
from service.api.fields import tell
from service.api.idempotency import Key
from service.api.problems import problems
from service.api.timeout import request_timeout
from service.errors import (
    BadConsistencyToken,
    BadCursor,
    BadIdempotencyKey,
    BadPrecondition,
    CommitInDoubt,
    EmailInUse,
    Forbidden,
    HistoryChanged,
    KeyInFlight,
    KeyReused,
    NotFound,
    Overloaded,
    PreconditionFailed,
    TokenAhead,
    Unauthenticated,
    Unavailable,
)
from service.users.schemas import NewUser, Order, User, UserChange, UserId, UserPage
from service.users.service import UserService

PAGE_DEFAULT = 50
PAGE_MOST = 200

ANY = (Unauthenticated, Forbidden, Unavailable, Overloaded)
TOKEN = (BadConsistencyToken, HistoryChanged)
WRITING = (BadIdempotencyKey, KeyInFlight, KeyReused, CommitInDoubt, *TOKEN, *ANY)
CHANGING = (NotFound, PreconditionFailed, BadPrecondition, *WRITING)
READING = (TokenAhead, *TOKEN, *ANY)

router = APIRouter(
    prefix="/api/users", tags=["users"], dependencies=[Depends(request_timeout), Depends(bearer)]
)


async def user_service(request: Request) -> UserService:
    """Return the application's UserService, which `create_app` put there."""
    users: UserService = request.app.state.users
    return users


Users = Annotated[UserService, Depends(user_service)]
Id = Annotated[UserId, Path(alias="id", description="The user's id")]


@router.post("", status_code=201, responses=tagged(201) | problems(EmailInUse, *WRITING))
async def create_user(
    new: NewUser, users: Users, key: Key, announce: Announce, response: Response
) -> User:
    """Create a user."""
    user = announce(await users.create(new, key))
    tell(response, b"location", f"{router.prefix}/{user.id}")
    return _tagged(user, response)


@router.get("", responses=problems(BadCursor, *READING))
async def list_users(
    users: Users,
    seen: Seen,
    limit: Annotated[int, Query(ge=1, le=PAGE_MOST)] = PAGE_DEFAULT,
    order: Order = Order.NEWEST,
    cursor: Annotated[str | None, Query(description="`next` of the page before")] = None,
) -> UserPage:
    """List users, a page at a time."""
    return await users.list(order, limit, cursor, seen)


@router.get(
    "/{id}",
    response_model=User,
    responses=tagged(200) | tagged(304) | problems(NotFound, BadPrecondition, *READING),
)
async def get_user(
    user_id: Id, tags: IfNoneMatch, users: Users, seen: Seen, response: Response
) -> User | Response:
    """Return one user."""
    user = await users.get(user_id, seen)
    if known(tags, user.etag):
        return Response(status_code=304, headers={"ETag": quote(user.etag)})
    return _tagged(user, response)


@router.patch("/{id}", responses=tagged(200) | problems(EmailInUse, *CHANGING))
async def change_user(
    user_id: Id,
    change: UserChange,
    etags: IfMatch,
    users: Users,
    key: Key,
    announce: Announce,
    response: Response,
) -> User:
    """Change a user's email address, name or both."""
    return _tagged(announce(await users.change(user_id, change, etags, key)), response)


@router.delete("/{id}", status_code=204, responses=problems(*CHANGING))
async def delete_user(
    user_id: Id, etags: IfMatch, users: Users, key: Key, announce: Announce
) -> None:
    """Delete a user."""
    announce(await users.delete(user_id, etags, key))


def _tagged(user: User, response: Response) -> User:
    """Write the user's entity tag into the response's headers."""
    tell(response, b"etag", quote(user.etag))
    return user
