"""leases: what only one process at a time may do, and how the next one takes over when that process is gone."""

from __future__ import annotations

from sqlalchemy import delete, select, update

from modelcommons.hub.database import insert_new
from modelcommons.hub.stores import Stores
from modelcommons.hub.tables import leases


def take(stores: Stores, name: str, holder: str, seconds: float) -> bool:
    """Takes a lease, or renews it; False while somebody else has it and it has not expired."""
    now = stores.now()
    with stores.database.writing() as connection:
        row = {"name": name, "holder": holder, "expires": now + seconds}
        insert_new(connection, leases, [row])
        mine = (leases.c.holder == holder) | (leases.c.expires <= now)
        taken = connection.execute(
            update(leases).where(leases.c.name == name, mine).values(holder=holder, expires=now + seconds)
        )
        return bool(taken.rowcount)


def holds(stores: Stores, name: str) -> bool:
    """Whether anybody has it now."""
    with stores.database.reading() as connection:
        expires = connection.scalar(select(leases.c.expires).where(leases.c.name == name))
    return expires is not None and expires > stores.now()


def give_back(stores: Stores, name: str, holder: str) -> None:
    with stores.database.writing() as connection:
        connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))
