"""service.settings: where settings come from, and what is said of a wrong one."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from service.database.link import COMMIT_GRACE
from service.settings import (
    DIVIDED,
    DIVIDED_BY_ONE,
    OVERRUN,
    Settings,
    SettingsError,
    load_settings,
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment that holds the one required setting and none other of ours."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("DB_WRITE_HOST", "172.30.0.100")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    return monkeypatch


def test_one_variable_is_enough() -> None:
    """All but the write host has a default, and the read host follows it."""
    settings = load_settings()

    assert (settings.db_write_host, settings.read_host) == ("172.30.0.100", "172.30.0.100")
    assert (settings.db_write_port, settings.db_read_port) == (6432, 6433)
    assert (settings.db_name, settings.db_user) == ("holdfast", "holdfast_app")
    assert settings.app_name


def test_read_host_can_differ(environment: pytest.MonkeyPatch) -> None:
    """DB_READ_HOST is taken where it is set."""
    environment.setenv("DB_READ_HOST", "readers")

    assert load_settings().read_host == "readers"


def test_password_comes_from_a_secret_file(tmp_path: Path) -> None:
    """A file named like the variable in lower case is read, without its trailing newline."""
    (tmp_path / "db_password").write_text("hunter2\n")

    assert load_settings().db_password == SecretStr("hunter2")


def test_environment_wins_over_secret_files(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where both are set the variable counts."""
    (tmp_path / "db_user").write_text("from_file")
    environment.setenv("DB_USER", "from_environment")

    assert load_settings().db_user == "from_environment"


def test_absent_secrets_directory_is_no_error(environment: pytest.MonkeyPatch) -> None:
    """Outside of containers there is no /run/secrets, and no warning about it."""
    environment.setenv("SECRETS_DIR", "/nowhere/at/all")

    assert load_settings().db_password is None


def test_empty_variable_counts_as_unset(environment: pytest.MonkeyPatch) -> None:
    """`NAME=` in a compose file means the default."""
    environment.setenv("DB_WRITE_PORT", "")

    assert load_settings().db_write_port == 6432


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("DB_WRITE_HOST", "", "DB_WRITE_HOST is not set, and has no default."),
        ("DB_WRITE_PORT", "70000", "DB_WRITE_PORT should be less than or equal to 65535."),
        ("DB_READ_PORT", "http", "DB_READ_PORT should be a valid integer"),
        ("REQUEST_DEADLINE", "nan", "REQUEST_DEADLINE should be a finite number."),
        ("DB_CONNECT_TIMEOUT", "0", "DB_CONNECT_TIMEOUT should be greater than 0."),
        ("APP_NAME", "app\r\n1", "APP_NAME should match pattern"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'."),
        ("DB_READ_POOL_MIN", "11", "DB_READ_POOL_MIN (11) must not exceed DB_READ_POOL_MAX (10)."),
        ("HEALTH_GRACE", "5", "HEALTH_GRACE (5) must be at least REQUEST_DEADLINE (15)"),
        ("WORKERS", "0", "WORKERS should be greater than or equal to 1."),
        ("WORKERS", "11", "WORKERS (11) must not exceed DB_WRITE_POOL_MAX (10)"),
        (
            "SHUTDOWN_TIMEOUT",
            "16.9",
            "SHUTDOWN_TIMEOUT (16.9) must be at least REQUEST_DEADLINE (15) and 2 more",
        ),
    ],
)
def test_wrong_setting_is_named(
    environment: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    """A bad value stops the start with a sentence that begins with its variable."""
    environment.setenv(variable, value)

    with pytest.raises(SettingsError) as raised:
        load_settings()

    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize("deadline", ["0.2", "15", "45", "3000"])
def test_what_depends_on_the_deadline_follows_it(
    environment: pytest.MonkeyPatch, deadline: str
) -> None:
    """One setting is enough for a longer failover: an instance neither leaves nor ends before."""
    environment.setenv("REQUEST_DEADLINE", deadline)
    environment.setenv("HEALTH_GRACE", "")  # as compose.yaml says it

    settings = load_settings()

    assert settings.health_grace == float(deadline) + 15
    assert settings.shutdown_timeout == float(deadline) + 5


@pytest.mark.parametrize(
    ("half", "write", "held", "workers"),
    [(1, 10, 2000, 1), (4, 10, 2000, 4), (32, 10, 2000, 5), (4, 3, 2000, 1), (4, 10, 1, 1)],
)
def test_workers_are_half_the_cores(
    environment: pytest.MonkeyPatch, half: int, write: int, held: int, workers: int
) -> None:
    """And no more than there are two connections for; one there is always."""
    environment.setattr("service.workers.cores.half", lambda: half)
    environment.setenv("DB_WRITE_POOL_MAX", str(write))
    environment.setenv("REQUESTS_HELD_MOST", str(held))

    assert load_settings().workers == workers


@pytest.mark.parametrize("workers", range(1, 11))
def test_the_parts_of_workers_are_the_whole(environment: pytest.MonkeyPatch, workers: int) -> None:
    """What is divided adds up, each gets some of what it needs, and least is never above most."""
    environment.setenv("WORKERS", str(workers))
    environment.setenv("DB_READ_POOL_MIN", "7")
    whole = load_settings()

    parts = [whole.part(number) for number in range(workers)]

    for name in DIVIDED:
        assert sum(getattr(part, name) for part in parts) == getattr(whole, name)
    for part in parts:
        assert min(getattr(part, name) for name in DIVIDED_BY_ONE) >= 1
        assert part.db_read_pool_min <= part.db_read_pool_max
        assert part.db_write_pool_min <= part.db_write_pool_max


def test_a_bad_deadline_is_named_alone(environment: pytest.MonkeyPatch) -> None:
    """Not what would have followed from it."""
    environment.setenv("REQUEST_DEADLINE", "x")

    with pytest.raises(SettingsError) as raised:
        load_settings()

    assert [line.split()[0] for line in str(raised.value).splitlines()] == ["REQUEST_DEADLINE"]


def test_the_overrun_is_what_a_commit_may_take() -> None:
    """COMMIT has its grace, and so has the question for the position after it."""
    assert OVERRUN >= 2 * COMMIT_GRACE


def test_every_wrong_setting_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    """Two bad values are two lines, so that one start is enough to find both."""
    environment.setenv("DB_WRITE_PORT", "x")
    environment.setenv("LOG_LEVEL", "x")

    with pytest.raises(SettingsError) as raised:
        load_settings()

    assert [line.split()[0] for line in str(raised.value).splitlines()] == [
        "DB_WRITE_PORT",
        "LOG_LEVEL",
    ]


def test_no_value_is_repeated(environment: pytest.MonkeyPatch) -> None:
    """What is wrong may be a secret in the wrong place: the sentence does not show it."""
    environment.setenv("DB_WRITE_PORT", "s3cret")

    with pytest.raises(SettingsError) as raised:
        load_settings()

    assert "s3cret" not in str(raised.value)


def test_password_is_not_printed(tmp_path: Path) -> None:
    """The settings as text do not hold the password."""
    (tmp_path / "db_password").write_text("hunter2")

    assert "hunter2" not in repr(load_settings())


def test_secret_that_is_a_directory_is_named(tmp_path: Path) -> None:
    """A secret mounted as a directory is an error with its path, not a traceback."""
    (tmp_path / "db_password").mkdir()

    with pytest.raises(SettingsError, match="db_password"):
        load_settings()


def test_a_rotated_password_is_read_again(tmp_path: Path) -> None:
    """The file as it is now; while it is being replaced, what was there at the start."""
    file = tmp_path / "db_password"
    file.write_text("first\n")
    settings = load_settings()
    file.write_text("second\n")
    assert settings.password("db_password") == "second"
    file.unlink()
    assert settings.password("db_password") == "first"


def test_a_password_of_the_environment_stays(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It wins over the file, as all variables do."""
    (tmp_path / "db_password").write_text("of the file")
    environment.setenv("DB_PASSWORD", "of the environment")
    assert load_settings().password("db_password") == "of the environment"


def test_no_password_is_an_empty_one() -> None:
    """Where the server trusts, nobody is asked."""
    assert load_settings().password("db_read_password") == ""
