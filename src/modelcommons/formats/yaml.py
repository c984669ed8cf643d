"""YAML from anybody, through one gate: small, shallow, values only, and never a surprise.

Values are built from the events of PyYAML's pure Python parser (its C parser ends the process on deep nesting); nothing
is composed or constructed by PyYAML, so there is no tag, anchor, alias or merge key to abuse, and no quadratic loader.
Plain scalars follow the core schema of YAML 1.2.2, chapter 10.3: `true`, `false`, `null` and numbers. So `no`, `on`,
`12:30` and `2024-01-01` are text, and `1e-3` is a number. Keys are always text, and numbers are finite.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from modelcommons.errors import FormatError

MAX_BYTES = 128 * 1024
MAX_DEPTH = 20
MAX_NODES = 5_000  # keys, values, lists and mappings
MAX_KEY = 128  # characters
MAX_SCALAR = 32 * 1024  # characters

CONSTANTS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
INTEGER = re.compile(r"[-+]?[0-9]{1,40}")
OTHER_BASE = re.compile(r"0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}")
NUMBER = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,4})?")

ODD_BREAKS = ("\r", "\x85", "\u2028", "\u2029")

At = tuple[str | int, ...]  # where in a document: ("tune", "epochs"), ("model", "auto", 0)


@dataclass(frozen=True, slots=True)
class Document:
    value: Any  # None, bool, int, float, str, list, dict[str, ...]
    lines: Mapping[At, int]  # the line, from 1, on which each key or list item stands


def load(text: str | bytes, name: str) -> Any:
    """The value of a YAML text; `name` is the file's name in messages.

    Raises:
        FormatError: not YAML, or YAML that does more than write down values, or too much of it.
    """
    return read(text, name).value


def read(text: str | bytes, name: str, replace: Callable[[str, int], str] | None = None) -> Document:
    """The value of a YAML text, and the line on which each part of it stands.

    Args:
        replace: (text, line) -> text, applied to every scalar value, never to a key, before its type is looked for.

    Raises:
        FormatError: not YAML, or YAML that does more than write down values, or too much of it.
    """
    if isinstance(text, str):
        text = text.encode("utf-8", errors="surrogatepass")
    if len(text) > MAX_BYTES:
        raise FormatError(f"{name}: expected at most {MAX_BYTES // 1024} KiB of YAML, got more. Make it smaller.")
    try:
        events = yaml.parse(text.decode("utf-8"), Loader=yaml.SafeLoader)
        return _Reader(events, name, replace or (lambda value, line: value)).document()
    except UnicodeDecodeError as error:
        raise FormatError(f"{name}: expected UTF-8, got another byte at {error.start:,}. Save it as UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        line = (error.problem_mark or error.context_mark).line + 1  # type: ignore[union-attr]  # one of them is there
        raise FormatError(f"{name}:{line}: expected YAML: {_hint(str(error.problem or error.context))}.") from None
    except yaml.YAMLError as error:
        raise FormatError(f"{name}: expected YAML: {str(error).splitlines()[0]}.") from None


def scalar(text: str) -> bool | int | float | str | None:
    """The value of a plain scalar in the core schema."""
    if text in CONSTANTS:
        return CONSTANTS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    if OTHER_BASE.fullmatch(text):
        return int(text, 0)
    if NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


def dump(value: Any) -> str:
    """JSON values as block YAML in the order given, which `load` reads back equal."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=False)


class _Reader:
    """Builds values from events and counts what it builds."""

    def __init__(self, events: Iterator[Any], name: str, replace: Callable[[str, int], str]) -> None:
        self.events, self.name, self.replace = events, name, replace
        self.lines: dict[At, int] = {}
        self.num_nodes = 0

    def document(self) -> Document:
        next(self.events)  # the stream's start
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return Document(None, {})
        value = self.value(next(self.events), ())
        next(self.events)  # the document's end
        if not isinstance(event := next(self.events), yaml.StreamEndEvent):
            raise self.refused(event, "expected one document, got a second one after `---`")
        return Document(value, self.lines)

    def value(self, event: Any, at: At) -> Any:
        self.check(event, at)
        match event:
            case yaml.ScalarEvent():
                text = self.replace(event.value, _line(event))
                return scalar(text) if event.implicit[0] else text
            case yaml.SequenceStartEvent():
                return self.sequence(at)
            case _:
                return self.mapping(at)

    def sequence(self, at: At) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            here = (*at, len(items))
            self.lines[here] = _line(event)
            items.append(self.value(event, here))
        return items

    def mapping(self, at: At) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.key(event, at)
            if key in values:
                raise self.refused(event, f"'{key}' stands here twice. Remove one")
            here = (*at, key)
            self.lines[here] = _line(event)
            values[key] = self.value(next(self.events), here)
        return values

    def key(self, event: Any, at: At) -> str:
        self.check(event, at)
        if not isinstance(event, yaml.ScalarEvent):
            raise self.refused(event, "expected a word as a key, got a list or mapping")
        if len(event.value) > MAX_KEY:
            raise self.refused(event, f"expected a key of at most {MAX_KEY} characters, got {len(event.value):,}")
        if event.value == "<<" and event.implicit[0]:
            raise self.refused(event, "expected values only, got a merge key `<<`. Write the keys out")
        return str(event.value)

    def check(self, event: Any, at: At) -> None:
        """Refuses what does more than write down a value, and too much of it."""
        self.num_nodes += 1
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            sign = "alias `*" if isinstance(event, yaml.AliasEvent) else "anchor `&"
            raise self.refused(event, f"expected values only, got the {sign}{event.anchor[:40]}`. Write the value out")
        if event.tag is not None:
            raise self.refused(event, f"expected values only, got the tag `{event.tag[:40]}`. Remove it")
        if len(at) > MAX_DEPTH:
            raise self.refused(event, f"expected at most {MAX_DEPTH} levels, one inside the other; this is deeper")
        if self.num_nodes > MAX_NODES:
            raise self.refused(event, f"expected at most {MAX_NODES:,} keys and values; there are more")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_SCALAR:
            raise self.refused(
                event, f"expected at most {MAX_SCALAR:,} characters in a value, got {len(event.value):,}"
            )

    def refused(self, event: Any, reason: str) -> FormatError:
        return FormatError(f"{self.name}:{_line(event)}: {reason}.")


def _line(event: Any) -> int:
    """The line, from 1, on which the event begins."""
    return int(event.start_mark.line) + 1


def _hint(problem: str) -> str:
    """PyYAML's words, and what to do about the mistakes people make most."""
    if "'\\t'" in problem:
        return f"{problem}; indent with spaces, not tabs"
    if "mapping values are not allowed" in problem:
        return f"{problem}; put quotes around a text that has a colon, or indent the key like those above it"
    if "but got '{'" in problem:
        return f"{problem}; inside {{ }} put quotes around a text with braces, or write it on a line of its own"
    return problem


class _Dumper(yaml.SafeDumper):
    """Writes no aliases, and quotes by the schema above as well as by the older one other readers follow."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if isinstance(scalar(text), str) else "'"
    if any(mark in text for mark in ODD_BREAKS):
        style = '"'  # PyYAML loses them in the other styles
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)
