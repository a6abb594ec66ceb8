"""/api/users: HTTP in, one call of the service, HTTP out."""

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from service.api.problems import problems
from service.errors import BadCursor, CommitInDoubt, EmailInUse, NotFound, Unavailable
from service.users.schemas import NewUser, Order, User, UserChange, UserId, UserPage
from service.users.service import UserService

PAGE_DEFAULT = 50
PAGE_MOST = 200

router = APIRouter(prefix="/api/users", tags=["users"])


async def user_service(request: Request) -> UserService:
    """Return the application's UserService, which `create_app` put there."""
    return cast("UserService", request.app.state.users)


Users = Annotated[UserService, Depends(user_service)]
Id = Annotated[UserId, Path(alias="id", description="The user's id")]


@router.post("", status_code=201, responses=problems(EmailInUse, CommitInDoubt, Unavailable))
async def create_user(new: NewUser, users: Users, response: Response) -> User:
    """Create a user."""
    user = await users.create(new)
    response.headers["Location"] = f"{router.prefix}/{user.id}"
    return user


@router.get("", responses=problems(BadCursor, Unavailable))
async def list_users(
    users: Users,
    limit: Annotated[int, Query(ge=1, le=PAGE_MOST)] = PAGE_DEFAULT,
    order: Order = Order.NEWEST,
    cursor: Annotated[str | None, Query(description="`next` of the page before")] = None,
) -> UserPage:
    """List users, a page at a time."""
    return await users.list(order, limit, cursor)


@router.get("/{id}", responses=problems(NotFound, Unavailable))
async def get_user(user_id: Id, users: Users) -> User:
    """Return one user."""
    return await users.get(user_id)


@router.patch("/{id}", responses=problems(NotFound, EmailInUse, CommitInDoubt, Unavailable))
async def change_user(user_id: Id, change: UserChange, users: Users) -> User:
    """Change a user's email address, name or both."""
    return await users.change(user_id, change)


@router.delete("/{id}", status_code=204, responses=problems(NotFound, CommitInDoubt, Unavailable))
async def delete_user(user_id: Id, users: Users) -> None:
    """Delete a user."""
    await users.delete(user_id)
