"""the command line: one function per command, and the one place that turns errors into words."""

from __future__ import annotations


def main() -> None:
    """The `commons` command."""
    raise SystemExit("commons: not here yet")
