"""service.workers.supervisor: what can be seen of it without a worker."""

import os
import socket

from service.workers.supervisor import Output, listen


def test_a_reader_that_stands_still_does_not_hold_it_up() -> None:
    """Lines are dropped while there is no room, and written when there is again."""
    read, write = os.pipe()
    output = Output(write)
    for number in range(1000):  # a pipe takes 64 KiB
        output.write(f"{number:999}\n")
    told = os.read(read, 2**20).decode()
    assert 0 < told.count("\n") < 1000
    assert told == "".join(f"{number:999}\n" for number in range(told.count("\n")))

    output.write("again\n")

    assert os.read(read, 100) == b"again\n"
    for each in (read, write):
        os.close(each)


def test_nobody_who_reads_ends_nothing() -> None:
    """As the log of a worker."""
    read, write = os.pipe()
    os.close(read)
    Output(write).write("nobody reads this\n")
    os.close(write)


def test_it_listens_on_all_addresses_of_a_name() -> None:
    """And on each once."""
    (one,) = listen("127.0.0.1", 0)
    host, port = one.getsockname()
    assert host == "127.0.0.1"
    with socket.create_connection((host, port), timeout=5):
        pass
    one.close()
