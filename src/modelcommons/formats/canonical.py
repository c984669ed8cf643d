"""canonical JSON (RFC 8785): one value, one sequence of bytes, whoever writes it."""

from __future__ import annotations

import re
from typing import Any

import orjson
import rfc8785

from modelcommons.errors import FormatError

PASSED = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME  # which are no JSON values
QUICK = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER | PASSED
# what orjson may write otherwise than RFC 8785: 1.0 (1); 1e-6 (0.000001) and 1e+16 (10000000000000000); and four-byte
# characters, by which keys might sort otherwise
WHOLE = (b".0,", b".0]", b".0}")
EXPONENT = re.compile(rb"e(?:[+0-9]|-[1-6](?![0-9]))")  # 1e-7 and smaller are written alike
FOUR_BYTES = re.compile(rb"[\xf0-\xf4]")
MILLIONTHS = re.compile(rb"(?<=[:,\[])(-?)(\d)(?:\.(\d+))?e-6(?=[,}\]])")  # a probability among many is often one


def canonical(value: Any) -> bytes:
    """The RFC 8785 bytes of a JSON value; an Enum or UUID in it is written as its value.

    Raises:
        FormatError: NaN, an infinity, an integer beyond 2^53, or something that is no JSON value.
    """
    try:
        quick = _without_millionths(orjson.dumps(value, option=QUICK))
        if not _is_odd(quick):
            return quick
    except TypeError:
        pass  # rfc8785 says what is wrong with it
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise FormatError(f"Expected a JSON value to put into canonical form: {error}.") from error


def _without_millionths(quick: bytes) -> bytes:
    """0.0000015 where orjson writes 1.5e-6; unless a text has such a thing in it."""
    if b"e-6" not in quick:
        return quick
    spelled = MILLIONTHS.sub(_spelled, quick)
    return spelled if orjson.loads(spelled) == orjson.loads(quick) else quick


def _spelled(found: re.Match[bytes]) -> bytes:
    return b"%b0.00000%b%b" % (found[1], found[2], found[3] or b"")


def _is_odd(quick: bytes) -> bool:
    """Whether a value has to be written the slow way; a false alarm costs time only."""
    if b"null" in quick or quick.endswith(b".0") or any(end in quick for end in WHOLE):  # orjson writes NaN as null
        return True
    return bool(EXPONENT.search(quick)) or (not quick.isascii() and bool(FOUR_BYTES.search(quick)))
