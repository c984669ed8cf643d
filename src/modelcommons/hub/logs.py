"""logs: one JSON object a line on stderr; no headers, no query strings, no bodies, no text of exceptions."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

LOG = logging.getLogger("modelcommons.hub")


class Lines(logging.Formatter):
    """What was given as `extra={"data": ...}` becomes keys of the line.

    The text of an exception can hold what a stranger sent; it is told at the level debug only.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "process": record.process,
            **getattr(record, "data", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = type(error).__name__
            line["where"] = [f"{at.filename}:{at.lineno} {at.name}" for at in traceback.extract_tb(error.__traceback__)]
            if logging.getLogger("modelcommons.hub").isEnabledFor(logging.DEBUG):
                line["text"] = str(error)
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up(level: str) -> None:
    """Sends our lines and uvicorn's to stderr, in one form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    for name, least in (("modelcommons.hub", level), ("uvicorn", "warning"), ("alembic", "warning")):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(least.upper())
