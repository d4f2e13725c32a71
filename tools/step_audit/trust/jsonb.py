"""JSON as PostgreSQL's ``jsonb`` keeps and prints it, computed without a server."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

# What numeric can hold: digits before and behind the point.
_MAX_WHOLE_DIGITS = 131072
_MAX_SCALE = 16383


class Number(str):
    """A JSON number, as it is written."""

    __slots__ = ()


def loads(text: str) -> Any:
    """Parse JSON text; numbers stay as written, and NaN is none.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested deeper than Python can follow.
    """
    return _DECODER.decode(text)


def canonical(text: str) -> str:
    """The text of ``text::jsonb::text``.

    Raises:
        ValueError: it is not JSON, or JSON that jsonb cannot hold.
        RecursionError: it is nested deeper than Python can follow.
    """
    return print_value(_WHOLE_DECODER.decode(text))


def print_value(value: Any) -> str:
    """A parsed value as jsonb prints it.

    Raises:
        ValueError: jsonb cannot hold it.
        RecursionError: it is nested deeper than Python can follow.
    """
    if isinstance(value, Number):
        return print_number(value)
    if isinstance(value, str):
        return _print_string(value)
    if isinstance(value, dict):
        members = sorted((key.encode(), key) for key in value)
        # Shorter keys first, as jsonb orders them.
        members.sort(key=lambda member: len(member[0]))
        return (
            "{"
            + ", ".join(f"{_print_string(key)}: {print_value(value[key])}" for _, key in members)
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(print_value, value)) + "]"
    return {None: "null", True: "true", False: "false"}[value]


def print_number(number: str) -> str:
    """A JSON number as ``numeric`` prints it: without exponent, and zero without sign.

    Raises:
        ValueError: it is beyond numeric.
    """
    try:
        value = Decimal(number)
    except InvalidOperation as error:
        raise ValueError(f"{number[:40]} is beyond numeric") from error
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if exponent < -_MAX_SCALE or (value and value.adjusted() >= _MAX_WHOLE_DIGITS):
        raise ValueError(f"{number[:40]} is beyond numeric")
    if not value:
        value = Decimal((0, (0,), min(exponent, 0)))
    return format(value, "f")


def _print_string(value: str) -> str:
    if "\x00" in value:
        raise ValueError("jsonb has no character U+0000")
    value.encode()  # Half a surrogate pair is refused here.
    return _encode_string(value)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The members of an object, of those of one name the last; the others must be fit too."""
    found = dict(pairs)
    if len(found) < len(pairs):
        for _, value in pairs:
            print_value(value)
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_encode_string = json.JSONEncoder(ensure_ascii=False).encode
_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_refuse)
_WHOLE_DECODER = json.JSONDecoder(
    parse_int=Number,
    parse_float=Number,
    parse_constant=_refuse,
    object_pairs_hook=_members,
)
