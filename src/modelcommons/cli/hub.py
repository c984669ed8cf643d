"""hub: the operator's commands: serve, settings, people, organisations, tokens."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modelcommons.cli.hub_operations import operations
from modelcommons.cli.options import Database, Debug, Folder, Json, Quiet, opened_hub
from modelcommons.cli.output import show, table

hub = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True,
    help="""Run a hub for models and data sets.

    Clients of the Hugging Face Hub work with it: HF_ENDPOINT=http://localhost:8931.

    \b
    commons hub serve
    commons hub user add ada --admin
    commons hub token add ada
    """,
)  # fmt: skip
user = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="People: add, list, suspend, password.")
org = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Organisations: add, list, member.")
token = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Access tokens: add, list, revoke.")
for name, group in (("user", user), ("org", org), ("token", token)):
    hub.add_typer(group, name=name)
hub.add_typer(operations)

User = Annotated[str, typer.Argument(metavar="USER", help="The name of a person.", show_default=False)]
Org = Annotated[str, typer.Argument(metavar="ORG", help="The name of an organisation.", show_default=False)]


@hub.command()
def serve(
    folder: Folder = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 if not given.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 8931 if not given, 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that answer; 1 if not given.")] = None,
    database: Database = None,
    bucket: Annotated[str | None, typer.Option(help="s3://bucket/prefix; the folder if not given.")] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Start a hub, and answer until Ctrl-C.

    Everything lies in one folder. SIGTERM and Ctrl-C let requests finish that are under way. All settings:
    commons hub settings.

    \b
    commons hub serve --folder hub --port 8931
    """
    import json as jsons

    from modelcommons.hub.server import serve
    from modelcommons.hub.settings import Settings, load

    settings = load(
        folder=folder, host=host, port=port, workers=workers, database=database, bucket=bucket,
        log_level="error" if quiet else None,
    )  # fmt: skip

    def tell(settings: Settings) -> None:
        """One line, so that whoever waits at the other end of a pipe can read it."""
        value = {"url": settings.endpoint, "folder": str(settings.folder), "port": settings.port}
        first = "commons hub user add NAME --admin, then commons hub token add NAME"
        words = f"The hub answers at {settings.endpoint} (HF_ENDPOINT). New here: {first}"
        print(jsons.dumps(value) if json else words, flush=True)

    serve(settings, tell)


@hub.command()
def settings(folder: Folder = None, json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """List every setting, its value here, and what it is for.

    Set one in the environment: COMMONS_HUB_PORT=8000 commons hub serve.

    \b
    commons hub settings
    """
    from modelcommons.hub.settings import load
    from modelcommons.hub.settings import table as known

    now = load(folder=folder)
    value = [
        {
            "name": one.name,
            "variable": one.variable,
            "value": ("set" if getattr(now, one.name) else "") if one.secret else getattr(now, one.name),
            "default": one.default,
            "help": one.help,
        }
        for one in known()
    ]
    rows = [(each["variable"], str(each["value"]), str(each["help"])) for each in value]
    show(value, table(rows, ("variable", "value", "what for")), json)


# --- people ---------------------------------------------------------------------------------------------------------


@user.command("add")
def add_user(
    name: User,
    admin: Annotated[bool, typer.Option("--admin", help="May do everything on this hub.")] = False,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a password, or read it from stdin; else: tokens only.")
    ] = False,
    fullname: Annotated[str, typer.Option(help="As it is shown.")] = "",
    email: Annotated[str | None, typer.Option(help="Shown to nobody but the person.")] = None,
    folder: Folder = None,
    database: Database = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make an account for a person.

    No password is ever taken from the command line, where others could see it.

    \b
    commons hub user add ada --admin
    """
    from modelcommons.hub.actions import accounts

    secret = _password(name) if password else None
    with opened_hub(folder, database, new=True) as stores:
        made = accounts.create_user(stores, name, password=secret, admin=admin, fullname=fullname, email=email)
    show(_plain(made), f"Made {made.name}. Next: commons hub token add {made.name}", json)


@user.command("list")
def list_users(
    folder: Folder = None, database: Database = None, json: Json = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """List the people.

    \b
    commons hub user list
    """
    from modelcommons.hub.actions import accounts

    with opened_hub(folder, database) as stores:
        people = accounts.listing(stores, "user")
    words = [(one.name, "admin" if one.admin else "", "suspended" if one.suspended else "") for one in people]
    show([_plain(one) for one in people], table(words, ("name", "", "")), json)


@user.command("suspend")
def suspend_user(
    name: User,
    undo: Annotated[bool, typer.Option("--undo", help="Let them in again.")] = False,
    folder: Folder = None,
    database: Database = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Take all access from a person, at once.

    What they made stays where it is.

    \b
    commons hub user suspend bob
    """
    from modelcommons.hub.actions import accounts

    with opened_hub(folder, database) as stores:
        changed = accounts.set_suspended(stores, name, not undo)
    show(_plain(changed), f"{changed.name} {'is let in again' if undo else 'can do nothing any more'}.", json)


@user.command("password")
def set_password(
    name: User,
    folder: Folder = None,
    database: Database = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Set a person's password.

    It is asked for, or read from stdin; every session of theirs ends.

    \b
    commons hub user password ada
    """
    from modelcommons.hub.actions import accounts

    with opened_hub(folder, database) as stores:
        changed = accounts.set_password(stores, accounts.find(stores, name, "user").name, _password(name))
    show(_plain(changed), f"{changed.name} has a new password.", json)


def _password(name: str) -> str:
    """Asked twice at a terminal; else the first line of stdin."""
    import sys

    if sys.stdin.isatty():
        secret: str = typer.prompt(f"Password for {name}", hide_input=True, confirmation_prompt=True, err=True)
        return secret
    return sys.stdin.readline().rstrip("\r\n")


# --- organisations --------------------------------------------------------------------------------------------------


@org.command("add")
def add_org(
    name: Org,
    admin: Annotated[str, typer.Option(metavar="USER", help="The person who rules it.", show_default=False)],
    fullname: Annotated[str, typer.Option(help="As it is shown.")] = "",
    folder: Folder = None,
    database: Database = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make an organisation, whose members share repositories.

    \b
    commons hub org add lab --admin ada
    """
    from modelcommons.hub.actions import accounts

    with opened_hub(folder, database) as stores:
        made = accounts.create_org(stores, name, admin=admin, fullname=fullname)
    show(_plain(made), f"Made {made.name}. Next: commons hub org member {made.name} NAME write", json)


@org.command("list")
def list_orgs(
    folder: Folder = None, database: Database = None, json: Json = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """List the organisations and who is in them.

    \b
    commons hub org list
    """
    from modelcommons.hub.actions import accounts

    with opened_hub(folder, database) as stores, stores.database.reading() as connection:
        orgs = accounts.listing(stores, "org")
        people = {one.name: dict(accounts.people(connection, one.id)) for one in orgs}
    value = [{**_plain(one), "members": people[one.name]} for one in orgs]
    rows = [(name, ", ".join(f"{who} ({role})" for who, role in inside.items())) for name, inside in people.items()]
    show(value, table(rows, ("name", "members")), json)


@org.command("member")
def set_member(
    name: Org,
    person: User,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="read, write, admin, or none.", show_default=False)],
    folder: Folder = None,
    database: Database = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Give a person a role in an organisation, or take it away.

    read sees private repositories, write commits, admin changes settings.

    \b
    commons hub org member lab bob write
    commons hub org member lab bob none
    """
    from modelcommons.hub.actions import accounts

    wanted = None if role == "none" else accounts.role(role)
    with opened_hub(folder, database) as stores:
        accounts.set_member(stores, name, person, wanted)
    show({"org": name, "user": person, "role": role}, f"{person} in {name}: {role}.", json)


# --- tokens ---------------------------------------------------------------------------------------------------------


@token.command("add")
def add_token(
    owner: User,
    name: Annotated[str, typer.Option(help="By which it is revoked.")] = "default",
    role: Annotated[str, typer.Option(help="read, write, or fine-grained.")] = "write",
    repo: Annotated[
        list[str] | None, typer.Option(metavar="KIND/OWNER/NAME=ROLE", help="For fine-grained; more than once.")
    ] = None,
    days: Annotated[float | None, typer.Option(help="Expires after so many days; never if not given.")] = None,
    folder: Folder = None,
    database: Database = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make an access token, and show it this once.

    The hub keeps a hash of it only.

    \b
    commons hub token add ada --name laptop
    commons hub token add ada --role fine-grained --repo model/ada/news=write
    """
    from modelcommons.hub.actions import accounts

    scopes = [accounts.scope(*each.rpartition("=")[::2]) for each in repo or ()]
    with opened_hub(folder, database) as stores:
        expires = None if days is None else stores.now() + days * 86_400
        made = accounts.create_token(stores, owner, name, accounts.token_role(role), scopes=scopes, expires=expires)
    show({"user": owner, "name": name, "role": role, "token": made}, made, json)


@token.command("list")
def list_tokens(
    owner: User,
    folder: Folder = None,
    database: Database = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List a person's tokens, without the tokens themselves.

    \b
    commons hub token list ada
    """
    from modelcommons.hub.actions import accounts

    with opened_hub(folder, database) as stores:
        known = accounts.list_tokens(stores, owner)
    rows = [(one.name, one.role, _day(one.created), _day(one.used), _day(one.expires)) for one in known]
    show(known, table(rows, ("name", "role", "made", "last used", "expires")), json)


def _day(seconds: float | None) -> str:
    from datetime import UTC, datetime

    return "never" if seconds is None else datetime.fromtimestamp(seconds, UTC).date().isoformat()


@token.command("revoke")
def revoke_token(
    owner: User,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the token.", show_default=False)],
    folder: Folder = None,
    database: Database = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """End a token at once.

    \b
    commons hub token revoke ada laptop
    """
    from modelcommons.hub.actions import accounts

    with opened_hub(folder, database) as stores:
        accounts.revoke_token(stores, owner, name)
    show({"user": owner, "name": name}, f"The token {name} of {owner} opens nothing any more.", json)


def _plain(account: Any) -> dict[str, Any]:
    return {
        "name": account.name, "kind": account.kind, "fullname": account.fullname, "email": account.email,
        "admin": account.admin, "suspended": account.suspended,
    }  # fmt: skip
