"""accounts: passwords, sessions, tokens; what a stranger, a thief, and a page of another site cannot do."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from hubs import Site, Template, make_site
from sqlalchemy import select

from modelcommons.errors import BadRequest, Conflict, Unauthorized
from modelcommons.hub.actions import accounts
from modelcommons.hub.permissions import Scope
from modelcommons.hub.tables import accounts as people
from modelcommons.hub.tables import attempts, sessions, tokens

PASSWORD = "correct horse battery"
WHOAMI = "/api/whoami-v2"
OWN = {"Origin": "http://localhost:8931"}


@pytest.fixture(scope="module")
def hashed() -> str:
    return accounts.hash_password(PASSWORD)


@pytest.fixture
def passwords(site: Site, hashed: str) -> Site:
    """A hub whose people have a password."""
    with site.stores.database.writing() as connection:
        connection.execute(people.update().where(people.c.kind == "user").values(password=hashed))
    return site


def sign_in(site: Site, name: str = "ada", **given: Any) -> Any:
    """A browser that signed in."""
    client = site.client(**given)
    assert client.post("/login", json={"name": name, "password": PASSWORD}).status_code == 200
    return client


# --- who am I -------------------------------------------------------------------------------------------------------


def test_whoami_says_what_the_client_reads(site: Site) -> None:
    told = site.client("bob").get(WHOAMI).json()
    assert (told["type"], told["name"], told["email"]) == ("user", "bob", "bob@example.org")
    assert [(org["name"], org["roleInOrg"]) for org in told["orgs"]] == [("lab", "read")]
    assert told["auth"] == {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}


def test_a_wrong_token_is_told_in_the_words_that_the_client_looks_for(site: Site) -> None:
    for token in ("mc_nonsense", accounts.new_token(), "hf_" + "x" * 34, ""):
        told = site.client(headers={"Authorization": f"Bearer {token}"}).get(WHOAMI)
        assert told.status_code == 401
        assert told.headers["x-error-message"] == "Invalid credentials in Authorization header"


@pytest.mark.parametrize(
    ("user", "code"), [("ada", 200), ("ADA", 200), ("", 200), ("bob", 401), ("x-access-token", 401)]
)
def test_basic_takes_the_owners_name_or_none(site: Site, user: str, code: int) -> None:
    both = base64.b64encode(f"{user}:{site.tokens['ada']}".encode()).decode()
    assert site.client(headers={"Authorization": f"Basic {both}"}).get(WHOAMI).status_code == code


@pytest.mark.parametrize(
    "header", ["Basic ???", "Basic " + base64.b64encode(b"\xff:\xff").decode(), "Digest x", "x" * 2000]
)
def test_malformed_credentials_are_refused(site: Site, header: str) -> None:
    assert site.client(headers={"Authorization": header}).get("/api/models").status_code == 401


def test_git_is_asked_for_a_password_and_a_browser_is_not(site: Site) -> None:
    for agent, scheme in (("git/2.39.5", "Basic"), ("Mozilla/5.0", "Bearer")):
        told = site.client(headers={"User-Agent": agent}).get(WHOAMI)
        assert told.headers["www-authenticate"].split()[0] == scheme


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_a_token_is_long_random_and_has_a_checksum() -> None:
    made = {accounts.new_token() for _ in range(100)}
    assert len(made) == 100 and {len(token) for token in made} == {52}
    assert all(accounts.is_token(token) for token in made)
    token = min(made)
    other = token[:20] + ("A" if token[20] != "A" else "B") + token[21:]
    assert not accounts.is_token(other) and not accounts.is_token(token + "0") and not accounts.is_token(token[3:])


def test_the_database_holds_no_token_and_no_password(passwords: Site) -> None:
    browser = sign_in(passwords)
    cookie = browser.cookies["commons"]
    with passwords.stores.database.reading() as connection:
        held = str([connection.execute(select(table)).all() for table in (people, tokens, sessions, attempts)])
    for secret in (*passwords.tokens.values(), cookie, PASSWORD):
        assert secret not in held


def test_a_revoked_or_expired_token_and_a_suspended_person_are_nobody(site: Site) -> None:
    soon = accounts.create_token(site.stores, "ada", "soon", "read", expires=site.clock() + 60)
    gone = accounts.create_token(site.stores, "ada", "gone", "read")
    clients = [site.client(headers={"Authorization": f"Bearer {token}"}) for token in (soon, gone)]
    assert [client.get(WHOAMI).status_code for client in clients] == [200, 200]
    accounts.revoke_token(site.stores, "ada", "gone")
    site.clock.time += 60
    assert [client.get(WHOAMI).status_code for client in clients] == [401, 401]

    assert site.client("bob").get(WHOAMI).status_code == 200
    accounts.set_suspended(site.stores, "bob", True)
    assert site.client("bob").get(WHOAMI).status_code == 401
    accounts.set_suspended(site.stores, "bob", False)
    assert site.client("bob").get(WHOAMI).status_code == 200


def test_a_permission_can_be_asked_again_inside_a_transaction(site: Site) -> None:
    who = accounts.of_token(site.stores, site.tokens["ada"], "bearer")
    with site.stores.database.writing() as connection:
        assert accounts.again(connection, who.credential, site.clock()) == who
    accounts.revoke_token(site.stores, "ada", "test")
    with site.stores.database.writing() as connection:
        for credential in (who.credential, "session:" + "0" * 64, ""):
            with pytest.raises(Unauthorized):
                accounts.again(connection, credential, site.clock())


def test_nobody_becomes_somebody_else_while_they_wait(site: Site) -> None:
    """SQLite gives the number of a deleted row away again: eve, revoked meanwhile, was root when asked again."""
    text = accounts.create_token(site.stores, "eve", "mine", "write")
    eve = accounts.of_token(site.stores, text, "bearer")
    accounts.revoke_token(site.stores, "eve", "mine")
    accounts.create_token(site.stores, "root", "next", "write")
    with site.stores.database.writing() as connection, pytest.raises(Unauthorized):
        accounts.again(connection, eve.credential, site.clock())


def test_the_last_use_is_written_once_an_hour(site: Site) -> None:
    def used() -> float | None:
        return accounts.list_tokens(site.stores, "ada")[0].used

    start = site.clock()
    site.client("ada").get(WHOAMI)
    assert used() == start
    site.clock.time += 3500
    site.client("ada").get(WHOAMI)
    assert used() == start
    site.clock.time += 200
    site.client("ada").get(WHOAMI)
    assert used() == start + 3700


def test_a_fine_grained_token_is_bound_to_its_repositories(site: Site) -> None:
    scope = accounts.scope("model/ada/news", "write")
    token = accounts.create_token(site.stores, "root", "one", "fine-grained", scopes=[scope])
    who = accounts.of_token(site.stores, token, "bearer")
    assert who.scopes == (Scope("model/ada/news", "write"),)
    assert not who.site_admin, "an administrator's small token must not rule the hub"
    told = site.client(headers={"Authorization": f"Bearer {token}"})
    assert told.get(WHOAMI).json()["auth"]["accessToken"]["role"] == "fineGrained"
    assert told.post("/api/repos/create", json={"name": "x"}).status_code == 403


@pytest.mark.parametrize(
    ("repo", "role"),
    [("ada/news", "write"), ("kernel/ada/news", "read"), ("model/ada/news", "admin"), ("model/ada/", "read")],
)
def test_a_scope_that_names_no_repository_is_refused(repo: str, role: str) -> None:
    with pytest.raises(Exception, match=r"Expected a "):
        accounts.scope(repo, role)


def test_fine_grained_and_only_it_needs_repositories(site: Site) -> None:
    with pytest.raises(BadRequest):
        accounts.create_token(site.stores, "ada", "x", "fine-grained")
    with pytest.raises(BadRequest):
        accounts.create_token(site.stores, "ada", "x", "write", scopes=[Scope("model/ada/news", "write")])


# --- passwords and sessions -----------------------------------------------------------------------------------------


def test_passwords_are_hashed_by_argon2id_with_64_mib(strong: PasswordHasher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "HASHER", strong)
    assert accounts.hash_password(PASSWORD).startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    with pytest.raises(BadRequest):
        accounts.hash_password("short")


def test_a_session_lasts_until_sign_out(passwords: Site) -> None:
    browser = sign_in(passwords)
    assert browser.get(WHOAMI).json()["name"] == "ada"
    stolen = dict(browser.cookies)
    assert browser.post("/logout", headers=OWN).status_code == 200
    assert passwords.client(cookies=stolen).get(WHOAMI).status_code == 401


def test_a_session_ends_after_two_weeks_and_is_then_nobodys(passwords: Site) -> None:
    browser = sign_in(passwords)
    passwords.clock.time += accounts.SESSION_S
    assert browser.get(WHOAMI).status_code == 401
    assert browser.get("/api/models").status_code == 200, "what anybody may see is seen with a dead cookie too"


def test_the_cookie_can_be_read_by_no_script_and_sent_by_no_other_site(
    template: Template, tmp_path: Path, passwords: Site
) -> None:
    told = passwords.client().post("/login", json={"name": "ada", "password": PASSWORD}).headers["set-cookie"]
    assert told.startswith("commons=") and "HttpOnly" in told and "SameSite=lax" in told and "Path=/" in told
    with make_site(template, tmp_path / "tls", url="https://hub.example.org") as secure:
        accounts.set_password(secure.stores, "ada", PASSWORD)
        told = secure.client().post("/login", json={"name": "ada", "password": PASSWORD}).headers["set-cookie"]
        assert told.startswith("__Host-commons=") and "Secure" in told and "Domain" not in told


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://localhost:8931"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"}, 403),
        (OWN, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
    ],
)
def test_a_page_of_another_site_changes_nothing(passwords: Site, headers: dict[str, str], code: int) -> None:
    browser = sign_in(passwords)
    told = browser.post("/api/settings/tokens", json={"name": "new", "role": "read"}, headers=headers)
    assert told.status_code == code
    assert len(accounts.list_tokens(passwords.stores, "ada")) == (2 if code == 201 else 1)


def test_another_site_cannot_sign_anybody_in(passwords: Site) -> None:
    told = passwords.client().post(
        "/login", data={"name": "ada", "password": PASSWORD}, headers={"Origin": "http://evil.example"}
    )
    assert told.status_code == 403 and "set-cookie" not in told.headers


def test_ten_failures_in_five_minutes_are_enough(passwords: Site) -> None:
    wrong = {"name": "ada", "password": "wrong " * 3}
    client = passwords.client()
    assert [client.post("/login", json=wrong).status_code for _ in range(11)] == [401] * 10 + [429]
    right = {"name": "Ada", "password": PASSWORD}
    assert client.post("/login", json=right).status_code == 429, "not even with the right password"
    assert passwords.client(address="192.0.2.7").post("/login", json=right).status_code == 200, "another address"
    passwords.clock.time += 301
    assert client.post("/login", json=right).status_code == 200


def test_nobody_learns_who_has_an_account(passwords: Site) -> None:
    client = passwords.client()
    told = [client.post("/login", json={"name": name, "password": "wrong " * 3}) for name in ("ada", "nobody", "lab")]
    assert len({(each.status_code, each.text) for each in told}) == 1


@pytest.mark.parametrize(
    ("asked", "led"),
    [
        ("/ada/news", "/ada/news"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\tx", "/"),
    ],
)
def test_a_form_leads_to_a_page_of_this_hub_only(passwords: Site, asked: str, led: str) -> None:
    told = passwords.client().post("/login", data={"name": "ada", "password": PASSWORD, "next": asked})
    assert (told.status_code, told.headers["location"]) == (303, led)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"name": "ada"}', b"[" * 100_000, b'{"name":1,"password":2}', b"\xff"])
def test_a_body_that_is_no_sign_in_is_refused(site: Site, body: bytes) -> None:
    assert site.client().post("/login", content=body).status_code == 400


def test_a_new_password_ends_the_sessions_of_the_old(passwords: Site) -> None:
    browser, other = sign_in(passwords), sign_in(passwords)
    wrong = browser.put("/api/settings/password", json={"old": "x" * 12, "new": "y" * 12}, headers=OWN)
    assert wrong.status_code == 401
    done = browser.put("/api/settings/password", json={"old": PASSWORD, "new": "another horse"}, headers=OWN)
    assert done.status_code == 200
    assert [client.get(WHOAMI).status_code for client in (browser, other)] == [401, 401]


def test_a_token_makes_no_further_tokens(site: Site) -> None:
    client = site.client("ada")
    assert client.get("/api/settings/tokens").status_code == 403
    assert client.post("/api/settings/tokens", json={"name": "x", "role": "write"}).status_code == 403
    assert client.put("/api/settings/password", json={"old": "x", "new": "y" * 12}).status_code == 403


def test_people_make_list_and_revoke_their_own_tokens(passwords: Site) -> None:
    browser = sign_in(passwords)
    fine = {"name": "a b", "role": "fine-grained", "scopes": [{"repo": "model/ada/news", "role": "read"}]}
    made = browser.post("/api/settings/tokens", json=fine, headers=OWN).json()["token"]
    assert accounts.is_token(made)
    told = browser.get("/api/settings/tokens")
    assert [each["name"] for each in told.json()] == ["a b", "test"] and made not in told.text
    assert browser.post("/api/settings/tokens", json=fine, headers=OWN).status_code == 409
    assert browser.delete("/api/settings/tokens/a%20b", headers=OWN).status_code == 200
    assert browser.delete("/api/settings/tokens/a%20b", headers=OWN).status_code == 404
    assert site_code(passwords, made) == 401


@pytest.mark.parametrize("expires", ["NaN", "Infinity", "1e300", "-1", "0", "1800000000", "5000000000"])
def test_a_token_expires_at_a_time_that_can_be_told(passwords: Site, expires: str) -> None:
    """A list of tokens with such a time was a 500 for its owner ever after."""
    browser = sign_in(passwords)
    body = f'{{"name": "odd", "role": "read", "expires": {expires}}}'
    answer = browser.post("/api/settings/tokens", content=body, headers=OWN | {"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert [each["name"] for each in browser.get("/api/settings/tokens").json()] == ["test"]


def site_code(site: Site, token: str) -> int:
    return site.client(headers={"Authorization": f"Bearer {token}"}).get(WHOAMI).status_code


def test_strangers_make_accounts_only_where_they_may(template: Template, tmp_path: Path, site: Site) -> None:
    new = {"name": "carol", "password": PASSWORD}
    assert site.client().post("/join", json=new).status_code == 403
    with make_site(template, tmp_path / "open", sign_up=True) as open_hub:
        client = open_hub.client()
        assert client.post("/join", json=new).status_code == 200
        assert not accounts.find(open_hub.stores, "carol").admin
        assert client.post("/join", json={**new, "name": "LAB"}).status_code == 409
        assert client.post("/join", json={**new, "name": "api"}).status_code == 422
        assert client.post("/join", json={**new, "name": "dave", "admin": True}).status_code == 422, "unknown key"


# --- organisations --------------------------------------------------------------------------------------------------


def test_users_and_organisations_share_one_space_of_names(site: Site) -> None:
    for name in ("lab", "LAB", "ada", "Ada"):
        with pytest.raises(Conflict):
            accounts.create_user(site.stores, name)
        with pytest.raises(Conflict):
            accounts.create_org(site.stores, name, admin="bob")


def test_an_organisation_keeps_an_admin(site: Site) -> None:
    for role in ("write", None):
        with pytest.raises(Conflict):
            accounts.set_member(site.stores, "lab", "ada", role)
    accounts.set_member(site.stores, "lab", "bob", "admin")
    accounts.set_member(site.stores, "lab", "ada", None)
    assert site.client("ada").get(WHOAMI).json()["orgs"] == []
