"""called: what a command said and how it ended; `commons`, in conftest.py, calls one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Told:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Commons = Callable[..., Told]


class Nobody(io.RawIOBase):
    """A stdin that nobody types into: a prompt would be a failure."""

    def readable(self) -> bool:
        raise AssertionError("asked a person something")
