"""webhooks: who is told what, signed and tried again; and that no address leads into the hub's own network."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from world import World, world

from modelcommons.errors import HubError, Unprocessable
from modelcommons.hub import outbound, tables
from modelcommons.hub.actions import accounts, leases, lifecycle, repos, webhooks
from modelcommons.hub.names import repo_id
from modelcommons.hub.outbound import NotDelivered, is_public, post


@dataclass
class Listener:
    """A program on loopback that keeps what it is told."""

    port: int
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)  # then 200
    touched: int = 0  # connections


@pytest.fixture
def listener() -> Iterator[Listener]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def setup(self) -> None:
            kept.touched += 1
            super().setup()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            status = kept.answers.pop(0) if kept.answers else 200
            self.send_response(status)
            if status in (301, 302, 307, 308):
                self.send_header("Location", f"http://127.0.0.1:{kept.port}/inside")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept = Listener(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def at(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "hub", webhooks=True, webhook_hosts="hook.test, 127.0.0.1") as made:
        yield made


def to(listener: Listener) -> outbound.Resolver:
    """A resolver for which every name is the listener."""
    return lambda host, port: [(socket.AF_INET, ("127.0.0.1", listener.port))]


def hook(at: World, who: str, *watched: tuple[str, str], **more: Any) -> str:
    body = {"url": "http://hook.test/told", "watched": [{"type": kind, "name": name} for kind, name in watched], **more}
    id: str = at.post(who, "/api/settings/webhooks", body)["webhook"]["id"]
    return id


def send(at: World, listener: Listener) -> list[dict[str, Any]]:
    """Sends what is due; what arrived since the last time."""
    listener.got.clear()
    webhooks.send_due(at.stores, "a", to(listener))
    return [json.loads(body) for _, _, body in listener.got]


def left(at: World) -> int:
    with at.stores.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(tables.deliveries)) or 0


# --- a person's own -------------------------------------------------------------------------------------------------


def test_webhooks_are_kept_changed_and_removed(at: World) -> None:
    id = hook(at, "ada", ("org", "guild"), ("model", "ada/news"), secret="s3cret")
    path = f"/api/settings/webhooks/{id}"
    told = at.get("ada", path)["webhook"]
    assert told["secret"] == "s3cret" and told["domains"] == ["repo", "discussion"] and told["disabled"] is False
    assert at.post("ada", path, {"watched": [], "domains": ["repo"]})["webhook"]["watched"] == told["watched"]
    assert at.post("ada", f"{path}/disable")["webhook"]["disabled"] is True
    assert at.post("ada", f"{path}/enable")["webhook"]["disabled"] is False
    assert [one["id"] for one in at.get("ada", "/api/settings/webhooks")] == [id]
    for method, rest in (("GET", ""), ("POST", "/disable"), ("DELETE", "")):
        assert at.ask("dan", method, path + rest).status == 404
        assert at.ask("", method, path + rest).status == 401
        assert at.ask("reader", method, path + rest).status == 403
    assert at.ask("ada", "DELETE", path).status == 200
    assert at.ask("ada", "GET", path).status == 404


def test_the_database_does_not_hold_the_secret(at: World, listener: Listener) -> None:
    id = hook(at, "ada", ("model", "ada/news"), secret="correct-horse-battery")
    at.repo("ada/news")
    kept = ["correct-horse-battery"]
    assert at.post("ada", f"/api/settings/webhooks/{id}", {"domains": ["repo"]})["webhook"]["secret"] in kept
    send(at, listener)
    assert listener.got[0][1]["x-webhook-secret"] in kept
    at.post("ada", f"/api/settings/webhooks/{id}", {"secret": "another-horse-battery"})
    with at.stores.database.reading() as connection:
        for table in tables.metadata.sorted_tables:
            rows = str([tuple(row) for row in connection.execute(select(table))])
            assert "horse-battery" not in rows, table.name
    for path in at.stores.settings.folder.rglob("*"):
        assert not path.is_file() or b"horse-battery" not in path.read_bytes(), path


def test_without_the_secret_of_the_hub_nothing_is_sent_unsigned(at: World, listener: Listener) -> None:
    id = hook(at, "ada", ("model", "ada/news"), secret="correct-horse-battery")
    path = f"/api/settings/webhooks/{id}"
    at.repo("ada/news")
    at.app.state.stores = replace(at.stores, secret=bytes(32))
    assert send(at, listener) == [] and left(at) == 1
    assert at.get("ada", path)["webhook"]["secret"] is None
    assert at.post("ada", path, {"secret": "anew"})["webhook"]["secret"] == "anew"
    at.clock.time += 60
    assert len(send(at, listener)) == 1 and listener.got[0][1]["x-webhook-secret"] == "anew"


def test_a_sealed_secret_is_of_no_use_in_another_webhook(at: World) -> None:
    first, second = (hook(at, who, ("model", "ada/news"), secret=f"of-{who}") for who in ("ada", "dan"))
    with at.stores.database.writing() as connection:
        sealed = select(tables.webhooks.c.sealed).where(tables.webhooks.c.id == first).scalar_subquery()
        connection.execute(tables.webhooks.update().where(tables.webhooks.c.id == second).values(sealed=sealed))
    assert at.get("dan", f"/api/settings/webhooks/{second}")["webhook"]["secret"] is None


def test_a_webhook_that_cannot_be_is_refused(at: World) -> None:
    changes: list[dict[str, Any]] = [
        {"url": "ftp://hook.test/"},
        {"watched": []},
        {"watched": [{"type": "paper", "name": "x"}]},
        {"watched": [{"type": "model", "name": "../etc"}]},
        {"domains": []},
        {"domains": ["everything"]},
        {"secret": "two\r\nX-Lines: 1"},
        {"secret": ""},
        {"secret": "é"},
        {"jobSourceId": "x"},
    ]
    for change in changes:
        body = {"url": "http://hook.test/", "watched": [{"type": "user", "name": "ada"}], **change}
        assert at.ask("ada", "POST", "/api/settings/webhooks", body).status in (400, 422), change
    assert at.get("ada", "/api/settings/webhooks") == []


# --- who is told what -----------------------------------------------------------------------------------------------


def test_a_commit_is_told_and_signed(at: World, listener: Listener) -> None:
    repo = at.repo("ada/news")
    id = hook(at, "dan", ("model", "ada/news"), secret="s3cret")
    hook(at, "ben", ("dataset", "ada/news"))
    hook(at, "cleo", ("user", "ada"), domains=["discussion"])
    oid = at.commit("ada", repo, {"a.txt": b"a"})["commitOid"]
    [told] = send(at, listener)
    assert told["event"] == {"action": "update", "scope": "repo.content"}
    assert told["repo"]["name"] == "ada/news" and told["repo"]["headSha"] == oid and told["repo"]["type"] == "model"
    assert [(one["ref"], one["newSha"]) for one in told["updatedRefs"]] == [("refs/heads/main", oid)]
    assert told["webhook"] == {"id": id, "version": 3}
    path, headers, body = listener.got[0]
    assert path == "/told" and headers["x-webhook-secret"] == "s3cret" and headers["host"] == "hook.test"
    assert headers["x-webhook-signature"] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert left(at) == 0


def test_the_stock_client_reads_what_is_told(at: World, listener: Listener) -> None:
    from huggingface_hub import WebhookPayload

    repo = at.repo("ada/news")
    hook(at, "ada", ("user", "ada"))
    at.post("dan", f"{repo}/discussions", {"title": "A title", "description": "words", "pullRequest": True})
    at.post("dan", f"{repo}/discussions/1/comment", {"comment": "more"})
    at.post("dan", f"{repo}/discussions/1/status", {"status": "closed"})
    read = [WebhookPayload.model_validate(told) for told in send(at, listener)]
    assert [(one.event.scope, one.event.action) for one in read] == [
        ("discussion", "create"),
        ("discussion.comment", "create"),
        ("discussion", "update"),
    ]
    assert read[1].comment is not None and read[1].comment.content == "more"
    assert read[2].discussion is not None and read[2].discussion.status == "closed"


def test_who_may_not_see_a_repository_is_told_nothing(at: World, listener: Listener) -> None:
    repo = at.repo("guild/plans", private=True)
    for who in ("cleo", "dan"):
        hook(at, who, ("org", "guild"), ("model", "guild/plans"))
    at.commit("ada", repo, {"a.txt": b"a"})
    assert left(at) == 1 and len(send(at, listener)) == 1


def test_who_lost_access_before_it_was_sent_is_told_nothing(at: World, listener: Listener) -> None:
    repo = at.repo("guild/plans", private=True)
    hook(at, "cleo", ("org", "guild"))
    at.commit("ada", repo, {"a.txt": b"a"})
    accounts.set_member(at.stores, "guild", "cleo", None)
    assert left(at) == 1 and send(at, listener) == [] and left(at) == 0


def test_a_repository_that_went_tells_only_that(at: World, listener: Listener) -> None:
    repo = at.repo("ada/news")
    hook(at, "dan", ("user", "ada"))
    at.commit("ada", repo, {"a.txt": b"a"})
    opened = repos.open_repo(at.stores, at.principal("ada"), repo_id("model", "ada", "news"), "admin")
    lifecycle.delete_repo(at.stores, opened)
    assert [told["event"] for told in send(at, listener)] == [{"action": "delete", "scope": "repo"}]


def test_a_repository_made_since_does_not_answer_for_one_that_went(at: World, listener: Listener) -> None:
    """SQLite gives the number of a deleted row away again."""
    hook(at, "dan", ("org", "guild"))
    accounts.set_member(at.stores, "guild", "dan", "read")
    repo = at.repo("guild/plans", private=True)
    at.commit("ada", repo, {"a.txt": b"a"})
    accounts.set_member(at.stores, "guild", "dan", None)
    at.clock.time += 1
    lifecycle.delete_repo(at.stores, at.opened("ada", repo, "admin"))
    at.repo("guild/news")
    assert {told["repo"]["name"] for told in send(at, listener)} == {"guild/news"} and left(at) == 0


def test_nothing_is_noted_where_webhooks_are_off(tmp_path: Path) -> None:
    with world(tmp_path / "hub") as at:
        repo = at.repo("ada/news")
        hook(at, "ada", ("user", "ada"))
        at.commit("ada", repo, {"a.txt": b"a"})
        assert left(at) == 0 and webhooks.send_due(at.stores, "a") == 0


def test_what_failed_is_tried_again_and_given_up_in_the_end(at: World, listener: Listener) -> None:
    repo = at.repo("ada/news")
    hook(at, "ada", ("user", "ada"))
    at.commit("ada", repo, {"a.txt": b"a"})
    listener.answers = [500, 302, 404, 200]
    for wait in (0, *webhooks.RETRY_S[:2]):
        at.clock.time += wait - 1
        assert wait == 0 or send(at, listener) == [], "not before it is due"
        at.clock.time += 1
        assert len(send(at, listener)) == 1 and left(at) == 1
    assert all(path == "/told" for path, _, _ in listener.got), "a redirect is not followed"
    at.clock.time += webhooks.RETRY_S[2]
    assert len(send(at, listener)) == 1 and left(at) == 0
    at.commit("ada", repo, {"a.txt": b"b"})
    listener.answers = [500] * 10
    for wait in (0, *webhooks.RETRY_S):
        at.clock.time += wait
        assert len(send(at, listener)) == 1
    assert left(at) == 0


def test_there_is_an_end_to_a_day(at: World, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_DAILY", 2)
    repo = at.repo("ada/news")
    hook(at, "ada", ("user", "ada"))
    for number in range(4):
        at.commit("ada", repo, {"a.txt": str(number).encode()})
    assert left(at) == 2
    at.clock.time += webhooks.DAY_S
    at.commit("ada", repo, {"a.txt": b"next day"})
    assert left(at) == 3


def test_one_process_at_a_time_sends(at: World, listener: Listener) -> None:
    repo = at.repo("ada/news")
    hook(at, "ada", ("user", "ada"))
    at.commit("ada", repo, {"a.txt": b"a"})
    assert leases.take(at.stores, "webhooks", "another", 60)
    assert send(at, listener) == [] and left(at) == 1
    at.clock.time += 61  # the other one is gone
    assert len(send(at, listener)) == 1


def test_a_disabled_webhook_sends_nothing(at: World, listener: Listener) -> None:
    repo = at.repo("ada/news")
    id = hook(at, "ada", ("user", "ada"))
    at.commit("ada", repo, {"a.txt": b"a"})
    at.post("ada", f"/api/settings/webhooks/{id}/disable")
    assert left(at) == 0
    at.commit("ada", repo, {"a.txt": b"b"})
    assert send(at, listener) == []


# --- addresses ------------------------------------------------------------------------------------------------------

# what each host is for the resolver of these tests, where the system's own does not know it
INSIDE = {
    "localhost": "127.0.0.1", "localhost.": "127.0.0.1", "rebind.test": "127.0.0.1", "cname.test": "10.0.0.7",
    "metadata.test": "169.254.169.254", "v6.test": "::1", "mapped.test": "::ffff:127.0.0.1",
    "ula.test": "fd00::1", "link.test": "fe80::1", "nat64.test": "64:ff9b::7f00:1", "six.test": "2002:7f00:1::",
    "any.test": "0.0.0.0", "broad.test": "255.255.255.255", "multi.test": "224.0.0.1", "carrier.test": "100.64.0.1",
    "bench.test": "198.18.0.1", "site.test": "fec0::1", "compatible.test": "::7f00:1", "teredo.test": "2001:0:7f00::1",
    "reserved.test": "240.0.0.1", "docs.test": "192.0.2.1", "scoped.test": "fe80::1%1", "any6.test": "::",
    "relay.test": "192.88.99.1", "nat64-local.test": "64:ff9b:1::7f00:1", "multi6.test": "ff02::1",
}  # fmt: skip
URLS = [
    "http://127.0.0.1:{port}/", "http://127.1:{port}/", "http://127.0.1:{port}/", "http://2130706433:{port}/",
    "http://0x7f000001:{port}/", "http://0x7f.0.0.1:{port}/", "http://0177.0.0.1:{port}/", "http://017700000001:{port}/",
    "http://127.0.0.2:{port}/", "http://127.255.255.254:{port}/", "http://0:{port}/", "http://0.0.0.0:{port}/",
    "http://[::1]:{port}/", "http://[::]:{port}/", "http://[::ffff:127.0.0.1]:{port}/", "http://[::ffff:7f00:1]:{port}/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/", "http://[::127.0.0.1]:{port}/", "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/", "http://[2002:7f00:1::]:{port}/", "http://[fe80::1%25lo]:{port}/",
    "http://[fd00::1]:{port}/", "http://[ff02::1]:{port}/", "http://10.0.0.1:{port}/", "http://172.16.0.1:{port}/",
    "http://192.168.1.1:{port}/", "http://169.254.169.254/latest/meta-data/", "http://100.64.0.1:{port}/",
    "http://198.18.0.1:{port}/", "http://224.0.0.1:{port}/", "http://255.255.255.255:{port}/",
    "http://localhost:{port}/", "http://LOCALHOST:{port}/", "http://localhost.:{port}/", "https://localhost:{port}/",
    "http://user@127.0.0.1:{port}/", "http://example.org@127.0.0.1:{port}/", "http://127.0.0.1:{port}@example.org/",
    "http://example.org:80@127.0.0.1:{port}/", "http://127.0.0.1:{port}#@example.org/", "http://127.0.0.1:{port}\\@example.org/",
    "http://example.org\\@127.0.0.1:{port}/", "http://127.0.0.1%2f:{port}/", "http://%31%32%37.0.0.1:{port}/",
    "http://127。0。0。1:{port}/", "http://①②⑦.⓪.⓪.①:{port}/", "http://127.0.0.1:{port}\r\nX-Injected: 1/",
    "http://127.0.0.1:{port}/\r\nHost: evil/", "http://127.0.0.1 :{port}/", " http://127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/", "http:/127.0.0.1:{port}/", "//127.0.0.1:{port}/", "http:///127.0.0.1:{port}/",
    "file:///etc/passwd", "ftp://127.0.0.1:{port}/", "gopher://127.0.0.1:{port}/_POST", "dict://127.0.0.1:{port}/",
    "unix:///run/postgresql/.s.PGSQL.5432", "http+unix://%2Frun%2Fx.sock/", "ldap://127.0.0.1:{port}/",
    "jar:http://127.0.0.1:{port}!/", "javascript:alert(1)", "data:text/plain,x", "http://", "", "http://:{port}/",
    "http://127.0.0.1:99999/", "http://127.0.0.1:0/", "http://127.0.0.1:x/", "http://[127.0.0.1]:{port}/", "http://[::1/",
    "http://-a.test:{port}/", "http://a..b:{port}/", "http://" + "a" * 300 + ".test/", "http://x/" + "a" * 3000,
    *(f"http://{host}:{{port}}/" for host in INSIDE),
]  # fmt: skip


def inside(host: str, port: int) -> list[outbound.Address]:
    """The system's resolver, with names of these tests that lead inside."""
    if host in INSIDE:
        address = INSIDE[host]
        return [(socket.AF_INET6 if ":" in address else socket.AF_INET, (address, port))]
    return outbound.resolve(host, port)


def test_no_address_leads_inside(listener: Listener) -> None:
    assert len(set(URLS)) >= 60
    for url in URLS:
        url = url.replace("{port}", str(listener.port))
        with pytest.raises((NotDelivered, Unprocessable)):
            post(url, b"{}", {}, resolver=inside, deadline_s=2)
    assert listener.touched == 0


def test_what_the_corpus_names_would_be_reached_if_it_were_allowed(listener: Listener) -> None:
    allowed = {"127.0.0.1", "localhost", "rebind.test"}
    for host in sorted(allowed):
        assert post(f"http://{host}:{listener.port}/", b"{}", {}, allowed=allowed, resolver=inside) == 200
    assert listener.touched == 3


def test_a_name_with_one_private_address_is_refused(listener: Listener) -> None:
    def both(host: str, port: int) -> list[outbound.Address]:
        return [(socket.AF_INET, ("93.184.216.34", port)), (socket.AF_INET, ("127.0.0.1", listener.port))]

    with pytest.raises(NotDelivered, match="not public"):
        post("http://both.test/", b"{}", {}, resolver=both)
    assert listener.touched == 0


def test_a_name_is_looked_up_once_and_the_connection_goes_there(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when it is checked, private when it is connected to; or failing first."""
    looks: list[str] = []
    places: list[Any] = []

    def rebinding(host: str, port: int) -> list[outbound.Address]:
        looks.append(host)
        return [(socket.AF_INET, ("93.184.216.34" if len(looks) == 1 else "127.0.0.1", listener.port))]

    def connect(self: socket.socket, place: Any) -> None:
        places.append(place)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(NotDelivered):
        post("http://rebinding.test/", b"{}", {}, resolver=rebinding)
    assert looks == ["rebinding.test"] and places == [("93.184.216.34", listener.port)]

    def failing(host: str, port: int) -> list[outbound.Address]:
        looks.append(host)
        if len(looks) == 2:
            raise OSError("try again")
        return [(socket.AF_INET, ("127.0.0.1", listener.port))]

    with pytest.raises(NotDelivered):
        post("http://failing.test/", b"{}", {}, resolver=failing)
    assert len(looks) == 2 and len(places) == 1


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", [*INSIDE.values(), "10.1.2.3", "no address", ""])
def test_other_addresses_are_not(address: str) -> None:
    assert not is_public(address)


def test_a_slow_answer_is_not_waited_for() -> None:
    """One byte now and then, for ever: the deadline is for all of it together."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                while not done.wait(0.05):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(NotDelivered):
                post(f"http://127.0.0.1:{port}/", b"{}", {}, allowed={"127.0.0.1"}, deadline_s=0.5)
        finally:
            done.set()
            thread.join()


def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    done = threading.Event()

    def hanging(host: str, port: int) -> list[outbound.Address]:
        done.wait(30)
        return []

    with pytest.raises(NotDelivered, match="resolved"):
        post("http://hanging.test/", b"{}", {}, resolver=hanging, deadline_s=0.2)
    done.set()


def test_errors_of_the_gate_are_ours() -> None:
    with pytest.raises(HubError):
        outbound.target("http://a b/")
