"""hostile HTTP: requests that no client would send, over real sockets: smuggled, malformed, never finished, very slow.

Every case is sent on a connection of its own by nobody in particular. Where a second request hides in it that says it
is ada, an answer with her name would mean that two readers of one stream disagree on where a request ends.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from served import Served, serve

HALF_OPEN = 1000
CLOSED_S = 10.0


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("hub") / "hub", idle_s=3.0) as served:
        yield served
        assert "Traceback" not in served.log(), served.log()[-5000:]


def send(hub: Served, data: bytes, *, limit_s: float = 20.0, finish: bool = False) -> bytes:
    """All that came back until the server closed, or was silent for a second after it had said something."""
    with socket.create_connection(("127.0.0.1", hub.port), timeout=limit_s) as connection:
        said = b""
        try:
            connection.sendall(data)
            if finish:
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 16):
                said += piece
                connection.settimeout(1.0)
        except (TimeoutError, ConnectionError):
            pass
        return said


def status(said: bytes) -> int:
    """Of the first answer; 0 where the connection was closed without one."""
    return int(said.split(b" ", 2)[1]) if said.startswith(b"HTTP/1.") else 0


def hidden(hub: Served) -> bytes:
    """The request that must not be seen."""
    return b"GET /api/whoami-v2 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n\r\n" % hub.tokens["ada"].encode()


LINE = b"GET /health HTTP/1.1\r\n"
POST = b"POST /api/validate-yaml HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
HOST = b"Host: h\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"Content-Length: 3\r\n\r\n0\r\n\r\nHIDDEN"
WHO = b"GET /api/whoami-v2 HTTP/1.1\r\nHost: h\r\n"
END = b"\r\n"

# what HTTP forbids: 400 or another 4xx, or the connection is closed; HIDDEN stands for the second request
FORBIDDEN: dict[str, bytes] = {
    # two lengths
    "length and chunked": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN",
    "chunked and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nHIDDEN",
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nHIDDEN",
    "two lengths in one": POST + b"Content-Length: 0, 5\r\n\r\nHIDDEN",
    "length with a sign": POST + b"Content-Length: +5\r\n\r\nHIDDEN",
    "negative length": POST + b"Content-Length: -1\r\n\r\nHIDDEN",
    "length in hexadecimal": POST + b"Content-Length: 0x5\r\n\r\nHIDDEN",
    "length with a blank inside": POST + b"Content-Length: 1 0\r\n\r\nHIDDEN",
    "length of letters": POST + b"Content-Length: five\r\n\r\nHIDDEN",
    "empty length": POST + b"Content-Length: \r\n\r\nHIDDEN",
    "huge length": POST + b"Content-Length: 99999999999999999999999999\r\n\r\nHIDDEN",
    "length with an underscore": POST + b"Content-Length: 1_0\r\n\r\nHIDDEN",
    "length 2 to the 64": POST + b"Content-Length: 18446744073709551616\r\n\r\nHIDDEN",
    # chunked in disguise
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\nHIDDEN",
    "chunked not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nHIDDEN",
    "chunked with a tail": POST + b"Transfer-Encoding: chunkedX\r\n\r\n0\r\n\r\nHIDDEN",
    "chunked in quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\nHIDDEN',
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n" + SMUGGLED,
    "chunked after a vertical tab": POST + b"Transfer-Encoding:\x0bchunked\r\n" + SMUGGLED,
    "chunked, blank before the colon": POST + b"Transfer-Encoding : chunked\r\n" + SMUGGLED,
    "chunked in a folded line": POST + b"Transfer-Encoding:\r\n chunked\r\n" + SMUGGLED,
    "chunked after NUL": POST + b"Transfer-Encoding: \x00chunked\r\n" + SMUGGLED,
    "chunked in HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n" + SMUGGLED,
    # chunks
    "chunk of letters": CHUNKED + b"xyz\r\n\r\nHIDDEN",
    "negative chunk": CHUNKED + b"-1\r\n\r\nHIDDEN",
    "chunk 0x5": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\nHIDDEN",
    "chunk too long for any number": CHUNKED + b"" + b"f" * 40 + b"\r\nHIDDEN",
    "chunk longer than it says": CHUNKED + b"3\r\nhello\r\n0\r\n\r\nHIDDEN",
    "chunk with bare LF": CHUNKED + b"5\nhello\n0\n\nHIDDEN",
    "chunk with a blank before its size": CHUNKED + b" 5\r\nhello\r\n0\r\n\r\nHIDDEN",
    "chunk extension with LF": CHUNKED + b"5;a\nb\r\nhello\r\n0\r\n\r\nHIDDEN",
    "chunk without CRLF after it": CHUNKED + b"5\r\nhelloXX0\r\n\r\nHIDDEN",
    "chunk with an underscore": CHUNKED + b"0_5\r\nhello\r\n0\r\n\r\nHIDDEN",
    # the first line
    "no version": b"GET /health\r\nHost: h\r\n\r\n",
    "HTTP/9.9": b"GET /health HTTP/9.9\r\nHost: h\r\n\r\n",
    "http in small letters": b"GET /health http/1.1\r\nHost: h\r\n\r\n",
    "HTTP/1": b"GET /health HTTP/1\r\nHost: h\r\n\r\n",
    "HTTP/1.1.1": b"GET /health HTTP/1.1.1\r\nHost: h\r\n\r\n",
    "HTTP/11": b"GET /health HTTP/11\r\nHost: h\r\n\r\n",
    "a blank in the path": b"GET /hea lth HTTP/1.1\r\nHost: h\r\n\r\n",
    "NUL in the path": b"GET /hea\x00lth HTTP/1.1\r\nHost: h\r\n\r\n",
    "CR in the path": b"GET /hea\rlth HTTP/1.1\r\nHost: h\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\nHost: h\r\n\r\n",
    "a path without a slash": b"GET health HTTP/1.1\r\nHost: h\r\n\r\n",
    "method of small letters": b"get /health HTTP/1.1\r\nHost: h\r\n\r\n",
    "method with NUL": b"G\x00T /health HTTP/1.1\r\nHost: h\r\n\r\n",
    "method that is none": b"FROBNICATE /health HTTP/1.1\r\nHost: h\r\n\r\n",
    "method of 10,000 letters": b"G" * 10_000 + b" /health HTTP/1.1\r\nHost: h\r\n\r\n",
    "CONNECT": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: h\r\n\r\n",
    "TRACE": b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n",
    "a path of 100,000 letters": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    "two first lines": LINE + LINE + HOST + END,
    "a header first": HOST + LINE + END,
    "a TLS hello": bytes.fromhex("16030100a5010000a10303") + bytes(150),
    "an SSH greeting": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a SOCKS request": b"\x05\x01\x00",
    "an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "noise": bytes(range(256)) * 8,
    "only NUL": bytes(1000),
    "a proxy line": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n" + LINE + HOST + END,
    # headers
    "no Host": LINE + END,
    "two Hosts": LINE + HOST + b"Host: evil\r\n" + END,
    "two Hosts in one": LINE + b"Host: h, evil\r\n" + END,
    "Host with a path": LINE + b"Host: h/evil\r\n" + END,
    "Host with a blank": LINE + b"Host: h evil\r\n" + END,
    "Host with NUL": LINE + b"Host: h\x00evil\r\n" + END,
    "blank before the colon": LINE + HOST + b"X-A : b\r\n" + END,
    "no colon": LINE + HOST + b"nonsense\r\n" + END,
    "empty name": LINE + HOST + b": b\r\n" + END,
    "NUL in a name": LINE + HOST + b"X\x00A: b\r\n" + END,
    "NUL in a value": LINE + HOST + b"X-A: b\x00c\r\n" + END,
    "CR in a value": LINE + HOST + b"X-A: b\rc\r\n" + END,
    "a name in parentheses": LINE + HOST + b"X(A): b\r\n" + END,
    "a name with UTF-8": LINE + HOST + "Ä: b\r\n".encode() + END,
    "a folded value": LINE + HOST + b"X-A: b\r\n c\r\n" + END,
    "a blank before the first header": LINE + b" Host: h\r\n" + END,
    "a tab before a header": LINE + HOST + b"\tX: y\r\n" + END,
    "bare CR as the end": LINE.replace(b"\r\n", b"\r") + b"Host: h\r\r",
    "a header of 1 MB": LINE + HOST + b"X-A: " + b"b" * 1_000_000 + b"\r\n" + END,
    "100,000 headers": LINE + HOST + b"X-A: b\r\n" * 100_000 + END,
    "a header name of 100,000": LINE + HOST + b"X" * 100_000 + b": b\r\n" + END,
    "a header with no end": LINE + HOST + b"X-A: " + b"b" * 300_000,
    # bodies
    "gzip": POST + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
    "deflate": POST + b"Content-Encoding: deflate\r\nContent-Length: 2\r\n\r\nab",
    "two encodings": POST + b"Content-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab",
    "gzip by transfer": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "too large by its length": POST + b"Content-Length: 999999999999\r\n\r\n",
    "no JSON": POST + b"Content-Length: 1\r\n\r\n{",
    "an Expect of nonsense": POST + b"Expect: 200-maybe\r\nContent-Length: 1\r\n\r\n{",
    "Upgrade to nonsense, with a body": POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\n{",
    # credentials
    "a token of 100 kB": WHO + b"Authorization: Bearer " + b"a" * 60_000 + b"\r\n\r\n",
    "Basic that is no base64": WHO + b"Authorization: Basic %%%%\r\n\r\n",
    "Basic without a colon": WHO + b"Authorization: Basic YWRh\r\n\r\n",
    "Basic with NUL": WHO + b"Authorization: Basic YQA6Yg==\r\n\r\n",
    "Digest": WHO + b'Authorization: Digest username="ada"\r\n\r\n',
    "Bearer of nothing": WHO + b"Authorization: Bearer \r\n\r\n",
    "a scheme of nothing": WHO + b"Authorization: \r\n\r\n",
    "a cookie of noise": WHO + b"Cookie: commons=\xff\xfe; =; ;;=\r\n\r\n",
    "trailers that say who": POST
    + b"Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n1\r\n{\r\n0\r\nAuthorization: Bearer x\r\n\r\n",
}  # fmt: skip

# what HTTP allows, or what a server may answer as it likes; there is one answer, and it is no 5xx
ODD: dict[str, bytes] = {
    "a million ranges": b"GET /health HTTP/1.1\r\nHost: h\r\nRange: bytes=" + b"0-0," * 14_000 + b"1-1\r\n\r\n",
    "an absolute address": b"GET http://h/health HTTP/1.1\r\nHost: h\r\n\r\n",
    "an absolute address of another host": b"GET http://evil/health HTTP/1.1\r\nHost: h\r\n\r\n",
    "HTTP/1.0": b"GET /health HTTP/1.0\r\n\r\n",
    "star": b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    "empty lines first": b"\r\n\r\n" + LINE + HOST + END,
    "bare LF": LINE.replace(b"\r\n", b"\n") + b"Host: h\n\n",
    "a chunk extension": CHUNKED + b"2;a=b;c\r\n{}\r\n0\r\n\r\n",
    "1,000 cookies": LINE + HOST + b"Cookie: " + b"a=b; " * 1000 + b"\r\n" + END,
    "Accept of noise": LINE + HOST + b"Accept: \xff\xfe*/*;q=\r\n" + END,
    "If-None-Match of noise": LINE + HOST + b'If-None-Match: """"W/\r\n' + END,
    "X-Request-Id that splits": LINE + HOST + b"X-Request-Id: a%0d%0aSet-Cookie:x\r\n" + END,
    "X-Forwarded-For": LINE + HOST + b"X-Forwarded-For: 127.0.0.1, ::1\r\nX-Forwarded-Host: evil\r\n" + END,
    "a method override": POST + b"X-HTTP-Method-Override: DELETE\r\nContent-Length: 2\r\n\r\n{}",
    "a double slash": b"GET //health HTTP/1.1\r\nHost: h\r\n\r\n",
    "a query of noise": b"GET /health?%ff=%00&&&=;a[]=1 HTTP/1.1\r\nHost: h\r\n\r\n",
    "a fragment": b"GET /health#x HTTP/1.1\r\nHost: h\r\n\r\n",
}  # fmt: skip


def test_there_are_a_hundred() -> None:
    assert len(FORBIDDEN) + len(ODD) >= 100


def test_what_is_forbidden_is_refused(hub: Served) -> None:
    secret = hidden(hub)

    def one(case: tuple[str, bytes]) -> str:
        name, data = case
        said = send(hub, data.replace(b"HIDDEN", secret))
        if b'"ada"' in said:
            return f"{name}: the hidden request was answered: {said[-300:]!r}"
        if status(said) and not 400 <= status(said) < 500:
            return f"{name}: expected a refusal, got {said[:200]!r}"
        return (
            f"{name}: answered {said.count(b'HTTP/1.1 ')} times: {said[:500]!r}" if said.count(b"HTTP/1.1 ") > 1 else ""
        )

    with ThreadPoolExecutor(32) as pool:
        wrong = [text for text in pool.map(one, FORBIDDEN.items()) if text]
    assert not wrong, "\n".join(wrong)


def test_what_is_odd_does_no_harm(hub: Served) -> None:
    def one(case: tuple[str, bytes]) -> str:
        said = send(hub, case[1])
        if status(said) >= 500 or b"\r\nset-cookie" in said.lower() or said.count(b"HTTP/1.1 ") > 1:
            return f"{case[0]}: {said[:300]!r}"
        return ""

    with ThreadPoolExecutor(32) as pool:
        wrong = [text for text in pool.map(one, ODD.items()) if text]
    assert not wrong, "\n".join(wrong)


def test_a_pipeline_is_answered_in_order(hub: Served) -> None:
    first = b"GET /api/models/ada/no-such HTTP/1.1\r\nHost: h\r\nX-Request-Id: one\r\n\r\n"
    second = b"GET /health HTTP/1.1\r\nHost: h\r\nX-Request-Id: two\r\nConnection: close\r\n\r\n"
    said = send(hub, first + second).lower()
    assert said.index(b"x-request-id: one") < said.index(b"x-request-id: two")


def test_the_head_has_no_body_and_the_next_request_is_understood(hub: Served) -> None:
    said = send(hub, b"HEAD /health HTTP/1.1\r\nHost: h\r\n\r\n" + LINE + HOST + b"Connection: close\r\n" + END)
    assert said.count(b"HTTP/1.1 ") == 2


def test_a_refused_body_is_not_read_as_the_next_request(hub: Served) -> None:
    """A door refuses before the body is read; what is left of it is no request."""
    secret = hidden(hub)
    for path in (b"/api/models/ada/x/commit/main", b"/api/repos/create", b"/v1/shards", b"/no/such/route", b"/uploads"):
        head = b"POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (path, len(secret))
        said = send(hub, head + secret)
        assert b'"ada"' not in said and status(said) in range(400, 500), (path, said)


def test_an_upload_that_stops_half_way_is_let_go(hub: Served) -> None:
    """The length says more than comes: closed when the wait is over, and nothing is kept."""
    token = hub.tokens["ada"].encode()
    head = b"POST /api/repos/create HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n" % token
    head += b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    said = send(hub, head + b'{"name": "half"', limit_s=30)
    assert status(said) in (0, 400, 408), said
    said = send(hub, head + b'{"name": "half"', finish=True)
    assert status(said) in (0, 400, 408), said


def test_a_thousand_half_open_connections_are_closed_while_others_are_served(hub: Served) -> None:
    """slow-loris: each sends the beginning of a head, then a byte now and then."""
    connections = [socket.create_connection(("127.0.0.1", hub.port), timeout=30) for _ in range(HALF_OPEN)]
    began = time.monotonic()
    done = threading.Event()
    served = [0]

    def others() -> None:
        while not done.is_set():
            assert status(send(hub, LINE + HOST + b"Connection: close\r\n" + END)) == 200
            served[0] += 1
            time.sleep(0.05)

    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(others)
        alive = list(connections)
        for one in alive:
            one.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\nX-Slow: ")
        while alive and time.monotonic() - began < CLOSED_S:
            time.sleep(0.5)
            alive = [one for one in alive if is_open(one)]
        done.set()
        going.result()
    for one in connections:
        one.close()
    assert not alive, f"{len(alive)} of {HALF_OPEN} are still open after {CLOSED_S} s"
    assert served[0] > 10


def is_open(connection: socket.socket) -> bool:
    """Whether the server still keeps it: a further byte is sent, as a slow client would."""
    connection.setblocking(False)
    try:
        connection.send(b"a")
        return connection.recv(4096) not in (b"",) and is_open(connection)
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_slow_bodies_are_closed(hub: Served) -> None:
    """A head, then a body that never comes; idle_s is 3 here."""
    token = hub.tokens["ada"].encode()
    head = b"POST /api/models/ada/x/commit/main HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n" % token
    head += b"Content-Type: application/x-ndjson\r\nContent-Length: 1000000\r\n\r\n"
    with ThreadPoolExecutor(50) as pool:
        for said in pool.map(lambda _: send(hub, head + b"{", limit_s=30), range(50)):
            assert status(said) in (0, 400, 404, 408), said[:200]


def test_connections_that_say_nothing_are_closed(hub: Served) -> None:
    """Connected, and not a byte; and a second request that never begins after the first."""

    def wait(data: bytes) -> None:
        with socket.create_connection(("127.0.0.1", hub.port), timeout=60) as connection:
            connection.sendall(data)
            try:
                while connection.recv(1 << 16):
                    pass
            except ConnectionError:
                pass

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(wait, (b"", LINE + HOST + END)))


def test_it_still_serves(hub: Served, tmp_path: Path) -> None:
    assert hub.is_alive()
    assert status(send(hub, LINE + HOST + END)) == 200
    assert b'"ada"' in send(hub, hidden(hub))
