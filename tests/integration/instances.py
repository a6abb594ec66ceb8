"""Instances of the service that a test plays, at the addresses where HAProxy expects them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tests.http_server import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ops.embedded import EmbeddedStack
    from tests.http_server import Request

BOTH = ("app1", "app2")


@contextmanager
def instances(
    stack: EmbeddedStack, serve: Callable[[Request], None], names: tuple[str, ...] = BOTH
) -> Iterator[None]:
    """Run instances that give each request to `serve`."""
    with ExitStack() as running:
        for name in names:
            running.enter_context(serving(serve, port=stack.ports.by_name()[name], name=name))
        yield
