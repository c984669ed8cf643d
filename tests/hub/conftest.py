"""what the hub's tests may rely on: `site`, a hub in this process; `server` and `start`, real ones. See hubs.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from hubs import Running, Settings, Site, Start, Template, copied, make_site, make_template, started

from modelcommons.hub.actions import accounts


@pytest.fixture(scope="session", autouse=True)
def strong() -> Iterator[PasswordHasher]:
    """How the hub hashes passwords; in this process as weakly as can be, for a third of a second each would add up."""
    ours, accounts.HASHER = accounts.HASHER, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    yield ours
    accounts.HASHER = ours


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    with make_template(tmp_path_factory.mktemp("hub")) as made:
        yield made


@pytest.fixture
def site(template: Template, tmp_path: Path) -> Iterator[Site]:
    with make_site(template, tmp_path / "hub") as made:
        yield made


@pytest.fixture
def start(template: Template, tmp_path: Path) -> Iterator[Start]:
    """Starts real hubs: `start(workers=2)`; the same name means the same folder, started again."""
    with ExitStack() as closing:
        known: dict[str, Settings] = {}

        def go(name: str = "hub", *, environment: dict[str, str] | None = None, **given: Any) -> Running:
            if name not in known:
                known[name] = closing.enter_context(copied(template, tmp_path / name, port=0, **given))
            return closing.enter_context(started(known[name], template.tokens, environment=environment))

        yield go


@pytest.fixture(scope="module")
def server(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One real hub for all tests of a module."""
    folder = tmp_path_factory.mktemp("server") / "hub"
    with copied(template, folder, port=0) as settings, started(settings, template.tokens) as running:
        yield running
