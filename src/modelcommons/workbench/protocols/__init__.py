"""protocols: versioned evaluation rules, one YAML file each, values only."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from modelcommons.errors import Contradicted, NotFound
from modelcommons.formats import yaml


@dataclass(frozen=True, slots=True)
class Protocol:
    """What a score must have been made from to be called by the protocol's name."""

    name: str  # fashion-mnist/v1
    task: str
    title: str
    data_sha256: str  # tree digest of the data files
    ids_sha256: str  # of the ordered ids of the test rows
    rows: int
    options: dict[str, Any]  # of `data.options`: those that change what is asked
    split: dict[str, Any]  # of `data.split`: those that change the test rows
    metrics: tuple[str, ...]  # the main one first
    baseline: str
    baseline_values: dict[str, str]  # metric -> decimal string, exact
    source: str
    published: tuple[str, ...]  # figures of others, with their source


@cache
def names() -> tuple[str, ...]:
    """Every protocol there is."""
    found = (path.name.removesuffix(".yaml") for path in files(__name__).iterdir() if path.name.endswith(".yaml"))
    return tuple(sorted(_name(stem) for stem in found))


def find(name: str) -> Protocol:
    """The protocol called `name`.

    Raises:
        NotFound: there is none; the message names the nearest.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(names())}."
        raise NotFound(f"There is no protocol '{name}'. {hint}")
    stem, version = name.rsplit("/", 1)
    text = files(__name__).joinpath(f"{stem}-{version}.yaml").read_text(encoding="utf-8")
    values = yaml.load(text, name)
    values["metrics"], values["published"] = tuple(values["metrics"]), tuple(values["published"])
    return Protocol(**values)


def _name(stem: str) -> str:
    """`fashion-mnist-v1` -> `fashion-mnist/v1`."""
    return "/".join(stem.rsplit("-", 1))


def check(protocol: Protocol, task: str, data_sha256: str, ids_sha256: str, num_rows: int) -> None:
    """Passes when task, data and test rows are those of the protocol.

    Raises:
        Contradicted: they are not; the sentence says which.
    """
    pairs = (
        ("task", protocol.task, task),
        ("data files", protocol.data_sha256, data_sha256),
        ("number of test rows", protocol.rows, num_rows),
        ("ids of the test rows", protocol.ids_sha256, ids_sha256),
    )
    for what, wanted, found in pairs:
        if wanted != found:
            raise Contradicted(
                f"The {what} are not those of {protocol.name}: expected {wanted}, got {found}. "
                "Use the protocol's data and split, or leave `evaluate.protocol` out."
            )
