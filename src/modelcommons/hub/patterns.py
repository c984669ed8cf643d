"""patterns: which files the lines of .gitattributes and .gitignore mean, in time that no pattern can blow up.

Source: gitignore(5) and gitattributes(5). No regular expression is made from a stranger's text: `*` is matched by
going back to the last star only, so a pattern of m characters and a name of n take m x n steps at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_BYTES = 64 * 1024  # of a file of patterns that is read
MAX_LINES = 1000


@dataclass(frozen=True, slots=True)
class Pattern:
    parts: tuple[str, ...]
    anywhere: bool  # it has no slash, so it means a name in any folder
    folders_only: bool
    negative: bool


def lines(text: str) -> Iterable[str]:
    """The lines that say something."""
    for line in text[:MAX_BYTES].splitlines()[:MAX_LINES]:
        line = line.strip()
        if line and not line.startswith("#"):
            yield line


def pattern(text: str) -> Pattern | None:
    """None where it means nothing."""
    negative = text.startswith("!")
    text = text[1:] if negative else text
    folders_only = text.endswith("/")
    text = text.rstrip("/")
    anywhere = "/" not in text
    parts = tuple(part for part in text.lstrip("/").split("/") if part)
    return Pattern(parts, anywhere, folders_only, negative) if parts else None


def matches(one: Pattern, path: Sequence[str], *, folder: bool) -> bool:
    """Whether a pattern means the file or folder at this path."""
    if one.folders_only and not folder:
        return False
    return _name(one.parts[0], path[-1]) if one.anywhere else _parts(one.parts, path)


def _parts(wanted: Sequence[str], path: Sequence[str]) -> bool:
    """Part by part; `**` stands for any number of folders, and at the end for all that is in one."""
    at = here = 0
    star, kept = -1, 0
    while here < len(path):
        if at < len(wanted) and wanted[at] == "**":
            star, kept, at = at, here, at + 1
            if at == len(wanted):
                return True
        elif at < len(wanted) and _name(wanted[at], path[here]):
            at, here = at + 1, here + 1
        elif star >= 0:
            kept += 1
            at, here = star + 1, kept
        else:
            return False
    return at == len(wanted)


def _name(wanted: str, name: str) -> bool:
    at = here = 0
    star, kept = -1, 0
    while here < len(name):
        step = _step(wanted, at, name[here]) if at < len(wanted) and wanted[at] != "*" else 0
        if step:
            at, here = at + step, here + 1
        elif at < len(wanted) and wanted[at] == "*":
            star, kept, at = at, here, at + 1
        elif star >= 0:
            kept += 1
            at, here = star + 1, kept
        else:
            return False
    return wanted[at:].strip("*") == ""


def _step(wanted: str, at: int, char: str) -> int:
    """How many characters of the pattern stand for this one; none where they do not."""
    match wanted[at]:
        case "?":
            return 1
        case "\\" if at + 1 < len(wanted):
            return 2 if wanted[at + 1] == char else 0
        case "[" if (end := wanted.find("]", at + 2)) > 0:
            inside = wanted[at + 1 : end]
            negative = inside[0] in "!^"
            return end + 1 - at if _within(inside[negative:], char) != negative else 0
    return 1 if wanted[at] == char else 0


def _within(inside: str, char: str) -> bool:
    at = 0
    while at < len(inside):
        if at + 2 < len(inside) and inside[at + 1] == "-":
            if inside[at] <= char <= inside[at + 2]:
                return True
            at += 3
        else:
            if inside[at] == char:
                return True
            at += 1
    return False


# --- .gitattributes and .gitignore ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Large:
    """The lines of .gitattributes that say which files are LFS's."""

    rules: tuple[tuple[Pattern, bool], ...]

    def has(self, path: str) -> bool:
        """The last line that says anything about the file decides."""
        parts = path.split("/")
        for one, large in reversed(self.rules):
            if matches(one, parts, folder=False):
                return large
        return False


def large(text: str) -> Large:
    rules = []
    for line in lines(text):
        first, *attributes = line.split()
        one = pattern(first)
        said = [word for word in attributes if word.lstrip("-!").partition("=")[0] == "filter"]
        if one is not None and not one.negative and not one.folders_only and said:
            rules.append((one, said[-1] == "filter=lfs"))
    return Large(tuple(rules))


@dataclass(frozen=True, slots=True)
class Ignored:
    """The lines of .gitignore."""

    rules: tuple[Pattern, ...]

    def has(self, path: str) -> bool:
        """A file in an ignored folder is ignored, whatever later lines say."""
        parts = path.split("/")
        return any(self._last(parts[:depth], folder=depth < len(parts)) for depth in range(1, len(parts) + 1))

    def _last(self, parts: Sequence[str], *, folder: bool) -> bool:
        for one in reversed(self.rules):
            if matches(one, parts, folder=folder):
                return not one.negative
        return False


def ignored(text: str) -> Ignored:
    return Ignored(tuple(one for line in lines(text) if (one := pattern(line)) is not None))
