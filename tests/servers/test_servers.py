"""The servers themselves: what other tests rely on, asked with http.client."""

from __future__ import annotations

import http.client
import threading
from typing import TYPE_CHECKING

import pytest

from tests.servers.faults import Fault, Schedule, at_random, first, whenever
from tests.servers.request import Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.files import FileServer, Ranges
    from tests.servers.s3 import Bucket

CONTENT = bytes(range(100))


@pytest.fixture
def connection(file_server: FileServer) -> Iterator[http.client.HTTPConnection]:
    file_server.files["a b/c"] = CONTENT
    connection = http.client.HTTPConnection("127.0.0.1", file_server.port, timeout=30)
    yield connection
    connection.close()


def get(connection: http.client.HTTPConnection, byte_range: str | None = None) -> tuple[int, str, bytes]:
    headers = {} if byte_range is None else {"Range": f"bytes={byte_range}"}
    connection.request("GET", "/a%20b/c", headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.getheader("Content-Range", ""), answer.read()


@pytest.mark.parametrize(
    ("ranges", "byte_range", "expected"),
    [
        ("all", None, (200, "", CONTENT)),
        ("all", "10-19", (206, "bytes 10-19/100", CONTENT[10:20])),
        ("all", "90-", (206, "bytes 90-99/100", CONTENT[90:])),
        ("all", "-7", (206, "bytes 93-99/100", CONTENT[93:])),
        ("all", "100-", (416, "bytes */100", b"")),
        ("none", "10-19", (200, "", CONTENT)),
        ("no suffix: 416", "-7", (416, "bytes */100", b"")),
        ("no suffix: 200", "-7", (200, "", CONTENT)),
        ("no suffix: 200", "10-19", (206, "bytes 10-19/100", CONTENT[10:20])),
    ],
)
def test_ranges(
    connection: http.client.HTTPConnection,
    file_server: FileServer,
    ranges: Ranges,
    byte_range: str | None,
    expected: tuple[int, str, bytes],
) -> None:
    file_server.ranges = ranges
    assert get(connection, byte_range) == expected
    assert (file_server.log[-1].key, file_server.log[-1].range) == ("a b/c", byte_range)


def test_a_connection_is_kept(connection: http.client.HTTPConnection, file_server: FileServer) -> None:
    for _ in range(3):
        get(connection)
    assert file_server.most_sockets == file_server.open_sockets == 1
    connection.close()
    assert file_server.wait(lambda: file_server.open_sockets == 0)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("status", 503), (503, "", b"a fault")),
        (Fault("fewer bytes than asked"), (206, "bytes 10-14/100", CONTENT[10:15])),
        (Fault("more bytes than asked"), (206, "bytes 7-24/100", CONTENT[7:25])),
        (Fault("other bytes than asked"), (206, "bytes 0-9/100", CONTENT[:10])),
        (Fault("shorter than told"), (206, "bytes 10-19/100", CONTENT[11:20])),
        (Fault("longer than told"), (206, "bytes 10-19/100", b"more" + CONTENT[10:20])),
        (Fault("drip", piece_bytes=3, pause_s=0), (206, "bytes 10-19/100", CONTENT[10:20])),
        (Fault("reset before the head"), ConnectionError),
        (Fault("reset in mid-body"), ConnectionError),
        (Fault("short body"), http.client.IncompleteRead),
        (Fault("silence"), TimeoutError),
    ],
)
def test_faults(
    connection: http.client.HTTPConnection,
    file_server: FileServer,
    fault: Fault,
    expected: tuple[int, str, bytes] | type[Exception],
) -> None:
    file_server.schedule = first(1, fault)
    connection.timeout = 0.2 if fault.kind == "silence" else 30
    if isinstance(expected, type):
        with pytest.raises(expected):
            get(connection, "10-19")
        connection.close()
    else:
        assert get(connection, "10-19") == expected
    assert get(connection, "10-19")[2] == CONTENT[10:20]
    if fault.kind == "silence":
        assert file_server.wait(lambda: file_server.log[0].is_abandoned)


def test_answers_are_held_until_enough_requests_are_in_flight(
    connection: http.client.HTTPConnection,
    file_server: FileServer,
) -> None:
    file_server.hold(5, extra_s=0)
    answers: list[int] = []

    def ask() -> None:
        own = http.client.HTTPConnection("127.0.0.1", file_server.port, timeout=30)
        answers.append(get(own)[0])
        own.close()

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 5
    assert file_server.most_in_flight == 5


def test_a_request_that_ends_after_forget_is_not_taken_off_the_count(
    connection: http.client.HTTPConnection, file_server: FileServer
) -> None:
    for _ in range(200):  # an answer is read here before the server's thread is done with the request
        get(connection)
        file_server.forget()
        get(connection)
        assert file_server.most_in_flight == 1


def test_what_is_random_depends_on_the_seed_and_the_key_alone() -> None:
    requests = [Request("GET", f"/c/{number % 7}", {}, 1) for number in range(200)]
    fault = Fault("status", 500)

    def run(schedule: Schedule, order: list[Request]) -> dict[str, list[bool]]:
        met: dict[str, list[bool]] = {}
        for request in order:
            met.setdefault(request.key, []).append(schedule(request) is fault)
        return met

    one = run(at_random(1, 0.5, [fault]), requests)
    assert one == run(at_random(1, 0.5, [fault]), sorted(requests, key=lambda request: request.key))
    assert one != run(at_random(2, 0.5, [fault]), requests)
    assert "111" not in "".join(str(int(met)) for met in one["c/0"])
    assert whenever(fault)(Request("GET", "/zarr.json", {}, 1)) is None


def test_an_object_store(bucket: Bucket) -> None:
    store = bucket.obstore("a/prefix")
    store.put("key", CONTENT)
    assert bytes(store.get_range("key", start=3, end=9)) == CONTENT[3:9]
    assert bytes(bucket.obstore().get("a/prefix/key").bytes()) == CONTENT
