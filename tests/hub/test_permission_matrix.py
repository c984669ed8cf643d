"""permissions: every principal x state of a repository x carrier x route, as permission_matrix.yaml has it.

A route that is not in the table, a row without a route, or a route whose dependencies have another door than its row
says, fails. The requests are made so that a door that opens leads to nothing: names of things that are not there.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from asking import Answer, ask
from sqlalchemy import delete, insert, select

from modelcommons.hub import tables
from modelcommons.hub.actions import accounts
from modelcommons.hub.app import Hub, Way, make, routes
from modelcommons.hub.permissions import Scope
from modelcommons.hub.settings import Settings

SPEC = yaml.safe_load((Path(__file__).with_name("permission_matrix.yaml")).read_text(encoding="utf-8"))
PRINCIPALS: list[str] = list(SPEC["principals"])
STATES = ["public", "auto", "manual", "private", "deleted"]
ABILITIES = list(SPEC["abilities"])
CARRIERS = ["bearer", "basic", "cookie"]
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
PASSWORD = "correct horse battery"
LONG = bool(os.environ.get("COMMONS_TEST_LONG"))  # every carrier for every cell

# what stands for the parts of a path; all of it names things that are not there
PARTS = {
    "rev": "main", "revision": "main", "ref": "main", "branch": "no-such-branch", "tag": "no-such-tag",
    "path": "no/such", "num": "999999", "number": "999999", "cid": "0" * 24, "comment": "0" * 24, "event": "0" * 24,
    "id": "0" * 24,
    "item": "0" * 24, "oid": "0" * 24, "slug": "no-such-" + "0" * 24, "namespace": "nobody-here", "user": "nobody-here",
    "username": "nobody-here", "account": "nobody-here", "org": "nobody-here", "organization": "nobody-here",
    "status": "pending", "state": "pending", "hash": "0" * 64, "xorb_hash": "0" * 64, "file_hash": "0" * 64,
    "chunk_hash": "0" * 64, "prefix": "default", "file": "no-such.safetensors", "filename": "no-such",
    "token": "no-such",
    "webhook": "0" * 24, "sha": "0" * 40, "commit": "0" * 40, "compare": "main..main", "key": "0" * 64,
    "attachment": "0" * 64, "event_id": "0" * 24, "item_id": "0" * 24, "collection": "no-such-" + "0" * 24,
    "sha256": "0" * 64, "group": "no-such", "service": "git-upload-pack",
}  # fmt: skip


# --- the table and the routes ---------------------------------------------------------------------------------------


def door(way: Way) -> str:
    """What a route takes: an ability, or the name of a door; by the functions it depends on."""
    found = set()
    waiting = [way.dependant]
    while waiting:
        one = waiting.pop()
        waiting += one.dependencies
        call = one.call
        if call is None or not getattr(call, "__module__", "").startswith("modelcommons.hub.wire"):
            continue
        if hasattr(call, "ability"):
            found.add(call.ability)
        elif hasattr(call, "action"):
            found.add("ticket")
        elif call.__name__ in SPEC["doors"]:
            found.add(call.__name__)
    strong = found - {"signed_in", "anyone"} or found - {"anyone"} or found
    assert len(strong) <= 1, f"{way.path} has several doors: {strong}"
    return next(iter(strong), "none")


def lines(app: Hub) -> dict[str, str]:
    """`GET /api/models/{owner}/{name}` -> its door."""
    return {
        f"{method} {way.path}": door(way)
        for way in routes(app)
        for method in sorted(way.methods - {"HEAD"} or way.methods)
    }


@dataclass
class World:
    """A hub in this process with people, tokens, and a repository of each state, kind and owner."""

    app: Hub
    bearers: dict[str, str] = field(default_factory=dict)  # principal -> token
    users: dict[str, str] = field(default_factory=dict)  # principal -> user
    cookies: dict[str, str] = field(default_factory=dict)

    def name(self, kind: str, state: str, principal: str) -> tuple[str, str]:
        owner = "guild" if principal.startswith("org-") or principal == "suspended" else "olga"
        return owner, f"{state}-{kind}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    clock = [1_800_000_000.0]
    app = make(Settings(folder=tmp_path_factory.mktemp("hub") / "hub"), now=lambda: clock[0])
    stores = app.state.stores
    world = World(app)
    people = {
        "stranger": "sam", "pending": "pia", "accepted": "abe", "rejected": "rob", "org-read": "rita",
        "org-write": "will", "org-admin": "olaf", "owner": "olga", "site-admin": "root", "suspended": "sue",
    }  # fmt: skip
    for principal, name in people.items():
        accounts.create_user(stores, name, password=PASSWORD, admin=principal == "site-admin")
        world.users[principal] = name
        world.bearers[principal] = accounts.create_token(stores, name, "write", "write")
    accounts.create_org(stores, "guild", admin="olaf")
    for name, role in (("rita", "read"), ("will", "write"), ("sue", "admin")):
        accounts.set_member(stores, "guild", name, role)  # type: ignore[arg-type]
    asyncio.run(_build(world))
    for principal in people:
        world.cookies[principal] = accounts.sign_in(stores, people[principal], PASSWORD, f"10.0.0.{len(world.cookies)}")
    here = [f"{kind}/olga/{state}-{kind}" for kind in KINDS.values() for state in STATES]
    for principal, role, scopes, expires in (
        ("expired", "write", [], clock[0] + 5), ("revoked", "write", [], None), ("owner-read-token", "read", [], None),
        ("elsewhere-token", "fine-grained", [Scope("model/olga/elsewhere", "write")], None),
        ("here-read-token", "fine-grained", [Scope(repo, "read") for repo in here], None),
        ("here-write-token", "fine-grained", [Scope(repo, "write") for repo in here], None),
    ):  # fmt: skip
        world.users[principal] = "olga"
        world.bearers[principal] = accounts.create_token(
            stores, "olga", principal, role, scopes=scopes, expires=expires  # type: ignore[arg-type]
        )  # fmt: skip
    accounts.revoke_token(stores, "olga", "revoked")
    world.cookies["revoked"] = accounts.sign_in(stores, "olga", PASSWORD, "10.0.1.1")
    accounts.sign_out(stores, world.cookies["revoked"])
    world.cookies["expired"] = world.cookies["revoked"]  # an end is an end
    clock[0] += 10
    accounts.set_suspended(stores, "sue", True)
    yield world
    stores.database.close()


async def _build(world: World) -> None:
    """Repositories of every state and kind, by the wire, as their owners make them; and a name that is taken."""
    for owner, token in (("olga", world.bearers["owner"]), ("guild", world.bearers["org-admin"])):
        taken = {"name": "taken", "type": "model", "organization": owner}
        assert (await ask(world.app, "POST", "/api/repos/create", taken, token=token)).status == 200
        for kind in KINDS.values():
            for state in STATES:
                await build_one(world, owner, token, kind, state)


async def build_one(world: World, owner: str, token: str, kind: str, state: str) -> None:
    async def must(method: str, path: str, body: Any, by: str) -> Answer:
        answer = await ask(world.app, method, path, body, token=by)
        assert answer.status < 300, (method, path, answer)
        return answer

    name = f"{state}-{kind}"
    made = {"name": name, "type": kind, "private": state == "private"}
    if owner == "guild":
        made["organization"] = owner
    if kind == "space":
        made["sdk"] = "static"
    await must("POST", "/api/repos/create", made, token)
    at = f"/api/{kind}s/{owner}/{name}"
    if state in ("auto", "manual"):
        await must("PUT", f"{at}/settings", {"gated": "manual"}, token)
        for principal in ("pending", "accepted", "rejected"):
            await must("POST", f"{at}/ask-access", {}, world.bearers[principal])
        for principal in ("accepted", "rejected"):
            answer = {"user": world.users[principal], "status": principal}
            await must("POST", f"{at}/user-access-request/handle", answer, token)
        # the gate `auto` opens to whoever asks; those who asked before have their answer
        await must("PUT", f"{at}/settings", {"gated": state}, token)
    if state == "deleted":
        await must(
            "DELETE",
            "/api/repos/delete",
            {key: made[key] for key in made if key in ("name", "organization", "type")},
            token,
        )


# --- one request ----------------------------------------------------------------------------------------------------


def carried(world: World, principal: str, carrier: str) -> list[tuple[str, str]] | None:
    """The headers by which a principal says who they are; None where they cannot by this carrier."""
    if principal == "anonymous":
        return [] if carrier == "bearer" else None
    if carrier == "cookie":
        if principal not in world.cookies:
            return None
        return [
            ("Cookie", f"commons={world.cookies[principal]}"),
            ("Origin", "http://localhost:8931"),
            ("Host", "localhost:8931"),
        ]
    token = world.bearers[principal]
    if carrier == "bearer":
        return [("Authorization", f"Bearer {token}")]
    basic = base64.b64encode(f"{world.users[principal]}:{token}".encode()).decode()
    return [("Authorization", f"Basic {basic}")]


def expected(row: Row, state: str, principal: str, carrier: str) -> str:
    if principal in SPEC["invalid"] and carrier == "cookie":
        principal, carrier = "anonymous", "bearer"  # a session that has ended is none at all
    if principal == "anonymous" and row.anonymous:
        return row.anonymous
    table = SPEC["abilities"][row.takes][state] if row.named else SPEC["doors"][row.takes]
    if principal in SPEC["invalid"]:
        return str(table.get("even-invalid", "unknown"))
    if "tokens" in table and principal != "anonymous" and carrier != "cookie":
        return str(table["tokens"])
    for answer, names in table.items():
        if isinstance(names, list) and principal in names:
            return str(answer)
    return str(table["else"])


def told(answer: Answer, principal: str, carrier: str) -> str:
    """Which of the table's answers this is."""
    known = principal != "anonymous" and not (principal in SPEC["invalid"] and carrier == "cookie")
    if answer.code == "RepoNotFound":
        assert answer.status == (404 if known else 401), answer
        return "absent"
    if answer.code == "GatedRepo":
        assert answer.status == (403 if known else 401), answer
        return "gated"
    if answer.status >= 500:
        return f"a {answer.status}"
    return {401: "unknown", 403: "forbidden"}.get(answer.status, "ok")


def expand(rows: dict[str, Any]) -> dict[str, Row]:
    """Every line of the table with its row; {T} and {P} written out."""
    found = {}
    for line, value in rows.items():
        given = value if isinstance(value, dict) else {"takes": value}
        for kind, prefix in (("models", ""), ("datasets", "/datasets"), ("spaces", "/spaces")):
            method, path, *word = line.replace("{T}", kind).replace("{P}", prefix).split()
            body = given.get("body", {} if method in ("POST", "PUT", "PATCH", "DELETE") else None)
            found[" ".join((method, path, *word))] = Row(
                method, path, given["takes"], given.get("door", given["takes"]), given.get("query", ""),
                given["text"].encode() + b"\n" if "text" in given else body, given.get("parts", {}),
                given.get("anonymous", ""), given.get("restores", ""), tuple(given.get("carriers", CARRIERS)),
            )  # fmt: skip
    return found


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    method: str
    path: str
    takes: str
    door: str
    query: str
    body: Any
    parts: dict[str, str]
    anonymous: str
    restores: str
    carriers: tuple[str, ...]

    @property
    def named(self) -> bool:
        """Whether a repository is named, so that its state matters."""
        return self.takes in ABILITIES

    @property
    def kind(self) -> str:
        found = re.search(r"^/(?:api/)?(models|datasets|spaces)/", self.path)
        return KINDS[found[1]] if found else "model"

    def address(self, owner: str, name: str) -> str:
        parts = PARTS | self.parts | {"owner": owner, "name": name}

        def part(found: re.Match[str]) -> str:
            key = found[1].split(":")[0]
            assert key in parts, f"tell PARTS what stands for {{{key}}} of {self.path}"
            return parts[key]

        return re.sub(r"\{([^}]+)\}", part, self.path) + self.query

    def sent(self, owner: str, name: str) -> Any:
        return substituted(self.body, owner, name, self.kind)


def substituted(body: Any, owner: str, name: str, kind: str) -> Any:
    if isinstance(body, dict):
        return {key: substituted(value, owner, name, kind) for key, value in body.items()}
    if isinstance(body, list):
        return [substituted(value, owner, name, kind) for value in body]
    return body.format(owner=owner, name=name, kind=kind) if isinstance(body, str) else body


ROWS: dict[str, Row] = expand(SPEC["routes"])


# --- tests ----------------------------------------------------------------------------------------------------------


def test_every_route_has_a_row_and_every_row_a_route(world: World) -> None:
    found, rows = lines(world.app), {f"{row.method} {row.path}" for row in ROWS.values()}
    assert not found.keys() - rows, "routes without a row in permission_matrix.yaml"
    assert not rows - found.keys(), "rows without a route"


def test_every_route_has_the_door_that_its_row_says(world: World) -> None:
    found = lines(world.app)
    has = {line: found[f"{row.method} {row.path}"] for line, row in ROWS.items()}
    # a second row of a route (for a proposal) may take less, but the door is one
    wrong = {line: has[line] for line, row in ROWS.items() if len(line.split()) == 2 and has[line] != row.door}
    assert not wrong


def cells(row: Row) -> Iterator[tuple[str, str, str]]:
    """State, principal, carrier: every state for models, two for the other kinds, which have the same routes by the
    same lines of code; each carrier in turn, all where no repository is named. Everything, where that is asked for.
    """
    states = STATES if LONG or row.kind == "model" else ["auto", "private"]
    for state in states if row.named else ["public"]:
        for number, principal in enumerate(PRINCIPALS):
            if LONG or not row.named:
                yield from ((state, principal, carrier) for carrier in row.carriers)
                continue
            turn = int(hashlib.sha256(f"{row.path}{state}".encode()).hexdigest(), 16) + number
            yield state, principal, row.carriers[turn % len(row.carriers)]


@pytest.mark.parametrize("line", ROWS)
def test_route(world: World, line: str) -> None:
    wrong = asyncio.run(tried(world, ROWS[line]))
    assert not wrong, "\n".join(wrong)


async def tried(world: World, row: Row) -> list[str]:
    """The cells of one row that are not as the table says."""
    wrong = []
    for state, principal, carrier in cells(row):
        headers = carried(world, principal, carrier)
        if headers is None:
            carrier = "bearer"
            headers = carried(world, principal, carrier)
        owner, name = world.name(row.kind, state, principal)
        before = requests(world) if row.restores == "access" else []
        answer = await ask(
            world.app, row.method, row.address(owner, name), row.sent(owner, name), headers=headers or []
        )
        want, got = expected(row, state, principal, carrier), told(answer, principal, carrier)
        if want != got:
            said = f"{answer.status} {answer.body[:120]!r}"
            wrong.append(f"{row.method} {row.path} by {principal} ({carrier}) on {state}: {want}, got {got}: {said}")
        if row.restores == "access":
            restore(world, before)
        elif row.restores == "repository" and answer.status < 300 and state != "deleted":
            token = world.bearers["owner" if owner == "olga" else "org-admin"]
            await build_one(world, owner, token, row.kind, state)
    return wrong


def requests(world: World) -> list[dict[str, Any]]:
    with world.app.state.stores.database.reading() as connection:
        return [dict(row._mapping) for row in connection.execute(select(tables.access_requests))]


def restore(world: World, before: list[dict[str, Any]]) -> None:
    with world.app.state.stores.database.writing() as connection:
        connection.execute(delete(tables.access_requests))
        connection.execute(insert(tables.access_requests), before)


@pytest.mark.parametrize("ability", ABILITIES)
def test_carriers_agree(world: World, ability: str) -> None:
    """One route for each ability, all three carriers, every state and principal."""
    row = next(row for row in ROWS.values() if row.takes == row.door == ability and row.path.startswith("/api/models/"))

    async def differ() -> list[str]:
        found = []
        for state in STATES:
            for principal in PRINCIPALS:
                seen = {}
                for carrier in CARRIERS:
                    headers = carried(world, principal, carrier)
                    if headers is None or principal in SPEC["invalid"]:
                        continue
                    owner, name = world.name("model", state, principal)
                    address = row.address(owner, name)
                    answer = await ask(world.app, row.method, address, row.sent(owner, name), headers=headers)
                    seen[carrier] = (answer.status, answer.code)
                if len(set(seen.values())) > 1:
                    found.append(f"{state} {principal}: {seen}")
        return found

    assert not asyncio.run(differ())


def test_a_cookie_from_another_site_changes_nothing(world: World) -> None:
    """Every unsafe route of the owner's own repository, by cookie, from where a browser says it must not come."""
    cookie, own = ("Cookie", f"commons={world.cookies['owner']}"), ("Origin", "http://localhost:8931")
    cases = [
        [cookie], [cookie, ("Origin", "https://evil.example")], [cookie, ("Origin", "null")],
        [cookie, ("Sec-Fetch-Site", "cross-site")], [cookie, ("Sec-Fetch-Site", "same-site"), own],
        [cookie, ("Origin", "http://localhost:8931.evil.example")], [cookie, ("Content-Type", "text/plain")],
    ]  # fmt: skip

    async def passed() -> list[str]:
        found = []
        for line, row in ROWS.items():
            if row.method in ("GET", "HEAD") or row.door in ("stranger", "ticket"):
                continue
            owner, name = world.name(row.kind, "public", "owner")
            for number, headers in enumerate(cases):
                address = row.address(owner, name)
                answer = await ask(world.app, row.method, address, row.sent(owner, name), headers=headers)
                if answer.status not in (401, 403):
                    found.append(f"{line} case {number}: {answer.status} {answer.body[:100]!r}")
        return found

    assert not asyncio.run(passed())


def test_a_private_repository_answers_as_a_missing_one_on_every_route(world: World) -> None:
    """Body and headers, byte for byte, for a stranger and for nobody."""

    async def differ() -> list[str]:
        found = []
        for line, row in ROWS.items():
            if not row.named:
                continue
            private, absent = f"private-{row.kind}", f"missing-{row.kind}"  # of one length
            for principal in ("stranger", "anonymous"):
                headers = [*(carried(world, principal, "bearer") or []), ("X-Request-Id", "same")]
                pair = []
                for name in (private, absent):
                    answer = await ask(
                        world.app, row.method, row.address("olga", name), row.sent("olga", name), headers=headers
                    )
                    pair.append((answer.status, answer.headers, answer.body))
                if pair[0] != pair[1]:
                    found.append(f"{line} by {principal}: {pair}")
        return found

    assert not asyncio.run(differ())
