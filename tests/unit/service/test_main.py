"""service.server, service.__main__: how the process starts to stop."""

import signal
import time

import pytest
import uvicorn
from fastapi import FastAPI

from service import __main__ as entry
from service.lifecycle import Lifecycle
from service.server import DrainingServer


@pytest.fixture
def server(app: FastAPI, lifecycle: Lifecycle) -> DrainingServer:
    """A server that was never started, so that its decisions can be looked at one by one."""
    return DrainingServer(uvicorn.Config(app, log_config=None), lifecycle, drain_delay=60)


def test_bad_setting_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A start with a bad setting ends with exit code 2 and its sentence on stderr."""
    monkeypatch.setenv("DB_WRITE_HOST", "localhost")
    monkeypatch.setenv("DB_WRITE_PORT", "0")

    assert entry.main() == 2
    assert capsys.readouterr().err == "DB_WRITE_PORT should be greater than or equal to 1.\n"


async def test_sigterm_drains_before_it_stops(server: DrainingServer, lifecycle: Lifecycle) -> None:
    """After SIGTERM the instance is draining at once, and serves on until the delay is over."""
    server.handle_exit(signal.SIGTERM, None)

    assert lifecycle.draining
    assert not await server.on_tick(1)
    assert server._stop_at == pytest.approx(time.monotonic() + 60, abs=1)


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]])
async def test_impatience_skips_the_delay(
    server: DrainingServer, signals: list[signal.Signals]
) -> None:
    """Ctrl-C, or a second SIGTERM, ends the serving at the next tick, in order."""
    for each in signals:
        server.handle_exit(each, None)

    assert await server.on_tick(1)
    assert not server.force_exit


async def test_last_resort_drops_what_is_in_flight(server: DrainingServer) -> None:
    """A signal to a server that is already stopping makes it stop without waiting."""
    server.handle_exit(signal.SIGINT, None)
    await server.on_tick(1)
    server.handle_exit(signal.SIGINT, None)

    assert server.force_exit


def test_signals_are_not_raised_again(server: DrainingServer) -> None:
    """What uvicorn captured it raises once it has ended; nothing captured means exit code 0."""
    server.handle_exit(signal.SIGTERM, None)

    assert server._captured_signals == []
