"""Reading JSON and base64 that may be hostile: one text for each value, or none."""

from __future__ import annotations

import base64
import json
from typing import Any, NoReturn

_MAX_BIGINT = 2**63 - 1
_MAX_DIGITS = len(str(_MAX_BIGINT)) + 1  # and a sign


def read_json(text: str) -> Any:
    """Parse JSON that has no numbers but those of a bigint, and no name twice in one object.

    Raises:
        ValueError: it is not such JSON, or nested too deep.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_whole_number,
            parse_float=_refuse,
            parse_constant=_refuse,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def encode_base64(data: bytes) -> str:
    """Write bytes in standard base64 with padding."""
    return base64.b64encode(data).decode()


def decode_base64(text: str) -> bytes:
    """Read what :func:`encode_base64` writes, and nothing else.

    Raises:
        ValueError: it is something else.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if encode_base64(data) != text:
        raise ValueError("it has base64 that cannot be read")
    return data


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("an object has the same name twice")
    return found


def _whole_number(number: str) -> int:
    if len(number) > _MAX_DIGITS or abs(int(number)) > _MAX_BIGINT:
        _refuse(number)
    return int(number)


def _refuse(number: str) -> NoReturn:
    raise ValueError(f"it has a number that is no bigint: {number[:_MAX_DIGITS]}")
