"""service.observability.lines: a slow reader holds nobody up, and no line is lost at the end."""

import io
import os
import select
import threading

import pytest

from service.observability import lines
from service.observability.lines import LineWriter

BOUND = 10.0


def test_all_lines_are_there_after_the_end() -> None:
    """In their order, also those that nobody had time to write before."""
    stream = io.StringIO()
    writer = LineWriter(stream)
    told = [f"line {number}\n" for number in range(1000)]
    for line in told:
        writer.write(line)
    writer.close(BOUND)

    assert stream.getvalue() == "".join(told)


def test_lines_of_many_threads_stay_whole() -> None:
    """Each is there once."""
    stream = io.StringIO()
    writer = LineWriter(stream)

    def tell(name: int) -> None:
        for number in range(500):
            writer.write(f"{name} {number}\n")

    threads = [threading.Thread(target=tell, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)
    writer.close(BOUND)

    told = {f"{name} {number}" for name in range(4) for number in range(500)}
    assert sorted(stream.getvalue().splitlines()) == sorted(told)


def test_a_reader_that_stands_still_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over the bound is dropped, and how much it was is told when it reads again."""
    monkeypatch.setattr(lines, "HELD_MOST", 300_000)
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        writer = LineWriter(stream)
        for number in range(1000):  # a pipe takes 64 KiB
            writer.write(f"{number:999}\n")
        got: list[bytes] = []
        reader = threading.Thread(
            target=lambda: got.extend(iter(lambda: os.read(read, 65536), b""))
        )
        reader.start()
        writer.close(BOUND)
    reader.join(BOUND)
    os.close(read)

    *told, last = b"".join(got).decode().splitlines()
    numbers = [int(line) for line in told]
    assert numbers == list(range(len(numbers)))
    assert 300 <= len(numbers) < 1000
    assert f'"lines":{1000 - len(numbers)}' in last


def test_lines_of_several_processes_stay_whole() -> None:
    """Each write to a shared pipe is whole lines, and no more than a pipe takes as one."""
    odd = "ä\u2028"  # what other readers of lines take for an end of one
    told = [f"{number} {odd * (number % 700)}\x85\n" for number in range(3000)]
    written: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    writer = LineWriter(Stream(), writers=2)
    for line in [*told, "x" * 9000 + "\n", "after it\n"]:
        writer.write(line)
    writer.close(BOUND)

    assert "".join(written) == "".join([*told, "x" * 9000 + "\n", "after it\n"])
    sizes = [len(text.encode()) for text in written]
    assert all(text.endswith("\n") for text in written)
    assert [size for size in sizes if size > select.PIPE_BUF] == [9001]
    assert len(written) < len(told)


def test_a_reader_that_is_gone_ends_nothing() -> None:
    """Whoever writes does not hear of it: nobody could be told."""
    read, write = os.pipe()
    os.close(read)
    stream = os.fdopen(write, "w", closefd=False)
    writer = LineWriter(stream)
    writer.write("nobody reads this\n")
    writer.close(BOUND)
    os.close(write)
