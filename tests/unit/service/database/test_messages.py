"""Messages as PostgreSQL's documentation lays them out ("Message Formats")."""

from service.database import messages


def test_a_command_is_parsed_bound_and_executed() -> None:
    """By the unnamed statement and the unnamed portal; sizes count themselves."""
    parse = b"P\0\0\0\x0d\0BEGIN\0\0\0"
    bind = b"B\0\0\0\x0e\0\0\0\1\0\1\0\0\0\0"
    execute = b"E\0\0\0\x09\0\0\0\0\0"
    assert messages.once("BEGIN") == parse + bind + execute


def test_a_prepared_statement_gets_its_arguments_in_the_binary_format() -> None:
    """One format for all of them; each with its size, which may be 0; results have no format."""
    bind = b"B\0\0\0\x1d\0name\0\0\1\0\1\0\2\0\0\0\3a\0b\0\0\0\0\0\0"
    assert messages.run("name", b"a\0b", b"") == bind + b"E\0\0\0\x09\0\0\0\0\0"


def test_no_sync_goes_ahead() -> None:
    """The server would answer, and end what belongs to no transaction yet."""
    assert b"S\0\0\0\4" not in messages.once("BEGIN") + messages.run("name", b"x")
