"""sounds among answers, as files that can be played."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelcommons.errors import UsageError


def kept(answers: Sequence[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """The answers with the path of a file, `folder/1.wav` and so on, in place of a sound's bytes.

    Raises:
        UsageError: there is no sound among them.
    """
    found = []
    for number, answer in enumerate(answers, 1):
        prediction = answer["prediction"]
        if not isinstance(prediction, dict) or "wav" not in prediction:
            raise UsageError("The answers of this model are no sounds. Leave --out out.")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number}.wav"
        path.write_bytes(base64.b64decode(prediction["wav"]))
        found.append({**answer, "prediction": {**prediction, "wav": str(path)}})
    return found
