"""health: whether what the hub stands on answers."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select

from modelcommons.hub.logs import LOG
from modelcommons.hub.stores import Stores
from modelcommons.hub.tables import accounts

ABSENT = "files/00/" + "0" * 64  # a key that no file has: SHA-256 of nothing known


def check(stores: Stores) -> dict[str, str]:
    """Each part with `ok` or `fails`; why it fails stands in the log only."""
    return {
        "database": _answers("database", lambda: _ask(stores)),
        "store": _answers("store", lambda: stores.blobs.has(ABSENT)),
    }


def _ask(stores: Stores) -> None:
    with stores.database.reading() as connection:
        connection.execute(select(accounts.c.id).limit(1))


def _answers(part: str, ask: Callable[[], object]) -> str:
    try:
        ask()
    except Exception as error:  # whatever it is, the answer is that this part does not answer
        LOG.error("unhealthy", exc_info=error, extra={"data": {"part": part}})
        return "fails"
    return "ok"
