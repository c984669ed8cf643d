"""canonical JSON (RFC 8785): one value, one sequence of bytes, whoever writes it."""

from __future__ import annotations

from typing import Any

import rfc8785

from modelcommons.errors import FormatError


def canonical(value: Any) -> bytes:
    """The RFC 8785 bytes of a JSON value.

    Raises:
        FormatError: NaN, an infinity, an integer beyond 2^53, or something that is no JSON value.
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise FormatError(f"Expected a JSON value to put into canonical form: {error}.") from error
