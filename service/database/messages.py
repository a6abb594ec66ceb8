"""Messages of PostgreSQL's extended query protocol that go ahead of a statement, unanswered.

The server takes messages in order, answers all of them together at the statement's Sync, and after
an error skips what is left up to it (PostgreSQL 17, "Message Flow", "Pipelining"). So what a
transaction begins and ends with needs no round trip of its own: it goes out with the statement
that follows. The driver writes that one itself; of the answers to what went ahead it passes over
all that bring no row (asyncpg 0.32, `CoreProtocol._process__bind_execute`), and raises their error
as the statement's own. tests/integration/test_ahead.py holds it to that.
"""

import struct

_BINARY = 1
_HEAD = struct.Struct("!ci")  # a message's type, and its size without the type
_SIZE = struct.Struct("!i")
_BIND = struct.Struct("!hhh")  # one format for all parameters, which; how many there are
_NO_RESULT_FORMATS = b"\0\0"
_EXECUTE = b"E" + _SIZE.pack(9) + b"\0" + _SIZE.pack(0)  # the unnamed portal, all rows


def once(sql: str) -> bytes:
    """Return the messages that run a command without parameters, by the unnamed statement."""
    text = sql.encode()
    return (
        _HEAD.pack(b"P", len(text) + 8) + b"\0" + text + b"\0\0\0"  # no parameter types
        + bind("")
        + _EXECUTE
    )  # fmt: skip


def run(statement: str, *arguments: bytes) -> bytes:
    """Return the messages that run a prepared statement, its arguments in the binary format."""
    return bind(statement, *arguments) + _EXECUTE


def bind(statement: str, *arguments: bytes) -> bytes:
    """Return Bind, of the unnamed portal."""
    parts = [b"\0", statement.encode(), b"\0", _BIND.pack(1, _BINARY, len(arguments))]
    for argument in arguments:
        parts += _SIZE.pack(len(argument)), argument
    parts.append(_NO_RESULT_FORMATS)
    body = b"".join(parts)
    return _HEAD.pack(b"B", len(body) + 4) + body
