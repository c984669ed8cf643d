"""which modules the files of Python's own library import, in the order in which they do.

Every Python brings these files along, so they are real choices that need no download: after `os` and `sys`, what will
this file import next? The files are read as text; nothing is imported.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

IMPORT = re.compile(r"^[ \t]*(?:import|from)[ \t]+([A-Za-z_]\w*)", re.MULTILINE)
LEFT_OUT = ("test", "tests", "idlelib", "site-packages", "dist-packages", "__pycache__")  # not on every machine
KNOWN = sys.stdlib_module_names - {"__future__"}
FEWEST = 3  # modules that a file imports


def imports() -> Iterator[tuple[str, str, int]]:
    """(file, module, place) of every first import, files in order of their names."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if set(name.parts[:-1]) & set(LEFT_OUT):
            continue
        found = dict.fromkeys(IMPORT.findall(path.read_text(encoding="utf-8", errors="replace")))
        modules = [module for module in found if module in KNOWN]  # a line of prose may begin with `from` too
        if len(modules) >= FEWEST:
            yield from ((name.as_posix(), module, place) for place, module in enumerate(modules))
