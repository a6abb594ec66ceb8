"""What configured logs write."""

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from service.observability import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What configured logs write, all of it from level DEBUG on."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, structlog.get_config())
    output = logs._output
    stream = io.StringIO()
    logs.configure("DEBUG", "app1", stream)
    yield stream
    root.handlers[:], root.level, configured = before
    structlog.configure(**configured)
    logs._output = output
