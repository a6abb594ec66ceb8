"""service.database.session: what a session is told, and what its socket is."""

import socket

import pytest

from service.database.observer import Role
from service.database.options import DatabaseOptions, EndpointOptions
from service.database.retry import RetryPolicy
from service.database.session import notice_silence, server_settings

OPTIONS = DatabaseOptions(
    write=EndpointOptions(host="127.0.0.1", port=6432),
    read=EndpointOptions(host="127.0.0.1", port=6433),
    name="holdfast",
    user="holdfast_app",
    password="hunter2",
    application_name="app1",
    statement_timeout=1.5,
    retry=RetryPolicy(),
)


def test_read_sessions_cannot_write() -> None:
    """A session of the read endpoint is read-only, wherever the endpoint leads."""
    assert server_settings(OPTIONS, Role.READ)["default_transaction_read_only"] == "on"


def test_write_sessions_do_not_override_a_fence() -> None:
    """A session of the write endpoint takes the node's default: a fenced node says read-only."""
    assert "default_transaction_read_only" not in server_settings(OPTIONS, Role.WRITE)


@pytest.mark.parametrize("role", Role)
def test_every_session_is_bounded_and_named(role: Role) -> None:
    """The server knows who it is, and ends what takes too long."""
    settings = server_settings(OPTIONS, role)

    assert settings["application_name"] == f"app1/{role}"
    assert settings["statement_timeout"] == "1500"
    assert settings["idle_in_transaction_session_timeout"] == "1500"


def test_password_is_not_printed() -> None:
    """The options as text do not hold the password."""
    assert "hunter2" not in repr(OPTIONS)


def test_silent_peer_is_noticed_by_the_kernel() -> None:
    """Keepalive and the user timeout are set, in the units that the kernel wants."""
    with socket.socket() as sock:
        notice_silence(sock, 3.0)

        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3000


@pytest.mark.parametrize("timeout", [3.0, 9.0, 30.0, 60.0])
def test_an_idle_peer_is_given_up_after_the_timeout(timeout: float) -> None:
    """The first probe and those that stay unanswered take as long as was asked for, together."""
    with socket.socket() as sock:
        notice_silence(sock, timeout)
        idle, interval, count = (
            sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )

    assert idle + interval * count == timeout


def test_unix_sockets_are_left_alone() -> None:
    """There is no silent peer behind a Unix socket, and no such option."""
    with socket.socket(socket.AF_UNIX) as sock:
        notice_silence(sock, 3.0)

        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
