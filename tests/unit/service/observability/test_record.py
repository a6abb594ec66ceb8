"""service.observability.record: the request's id, and the headers that tell of its way."""

import re

import pytest
from starlette.datastructures import Headers

from service.database import Route
from service.observability.record import RequestRecord, current_record, request_record


@pytest.mark.parametrize("claimed", ["r-1", "0af7651916cd43dd8448eb211c80319c", "a.b:c/d+e=f@g_h"])
def test_sane_id_is_taken(claimed: str) -> None:
    """A client's own id is kept, so that its logs and ours can be joined."""
    with request_record(Headers({"X-Request-Id": claimed}).raw) as record:
        assert record.request_id == claimed


@pytest.mark.parametrize("claimed", [None, "", "x" * 129, "a b", 'a"b', "a\nb", "ä", "\x1b[31m"])
def test_other_ids_are_replaced(claimed: str | None) -> None:
    """No id, or one that could forge a line of the log, is replaced by one made here."""
    raw = [] if claimed is None else [(b"x-request-id", claimed.encode())]
    with request_record(raw) as record:
        assert re.fullmatch("[0-9a-f]{32}", record.request_id)


def test_what_the_edge_knows_of_the_client_is_kept() -> None:
    """Its address, and its own name for the request, unless that could forge a line of the log."""
    headers = {"X-Forwarded-For": "192.0.2.7, 172.30.0.40", "X-Client-Request-Id": "mine-42"}
    with request_record(Headers(headers).raw) as record:
        assert (record.client_ip, record.client_request_id) == ("192.0.2.7", "mine-42")
    with request_record(
        Headers({"X-Client-Request-Id": "a b", "X-Forwarded-For": "\x1b[31m"}).raw
    ) as record:
        assert (record.client_ip, record.client_request_id) == ("", "")


def test_record_ends_with_its_request() -> None:
    """The record is found from anywhere inside, and is gone afterwards."""
    with request_record([]) as record:
        assert current_record() is record

    assert current_record().request_id == ""


def test_headers_of_a_request_that_asked_no_database() -> None:
    """Without a route there are no attempts to tell of."""
    headers = dict(RequestRecord("r-1").headers(b"app1"))

    assert headers == {b"x-request-id": b"r-1", b"x-instance": b"app1"}


def test_headers_of_a_request_that_did() -> None:
    """Route, attempts and a commit on the primary alone are told."""
    record = RequestRecord("r-1", route=Route.READ_FALLBACK, attempts=3, local_commit=True)
    headers = dict(record.headers(b"app1"))

    assert headers[b"x-route"] == b"read-fallback"
    assert headers[b"x-attempts"] == b"3"
    assert headers[b"durability"] == b"local"
