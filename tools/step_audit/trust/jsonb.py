"""JSON as PostgreSQL's ``jsonb`` keeps and prints it, computed without a server.

A number of nine characters is printed with 131,072 digits: so nothing is printed as a whole that
need not be, and how long it would be is known before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

# What numeric can hold: digits before and behind the point.
_MAX_WHOLE_DIGITS = 131072
_MAX_SCALE = 16383

# A server allocates no more at once. What it makes of a text needs some of it too.
_MAX_SIZE = 0x3FFFFFFF
_ROOM = 1024


class Number(str):
    """A JSON number, as it is written."""

    __slots__ = ()


class _Printed(str):
    """A part of the text that is there already."""

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
        ValueError: it is not JSON, or JSON that jsonb cannot hold, or print.
    """
    return "".join(print_pieces(text))


def print_pieces(text: str) -> Iterator[str]:
    """The same piece by piece, none of them much longer than a number or a text in it can be.

    Raises:
        ValueError: it is not JSON, or JSON that jsonb cannot hold, or print: before any piece.
    """
    value = _loads_whole(text)
    if _measure(value) > _MAX_SIZE:
        raise ValueError("its text is longer than a server can print")
    return _pieces(value)


def is_printable(text: str) -> bool:
    """Whether a server can print JSON text: as jsonb does, else as it is written."""
    try:
        return _measure(_loads_whole(text)) <= _MAX_SIZE - _ROOM
    except ValueError:
        return True


def check_text(text: str) -> None:
    """See whether jsonb can hold JSON text.

    Raises:
        ValueError: it cannot.
    """
    _measure(_loads_whole(text))


def check(value: Any) -> None:
    """See whether jsonb can hold a parsed value.

    Raises:
        ValueError: it cannot.
    """
    _measure(value)


def print_start(value: Any, length: int) -> str:
    """The first characters of a parsed value as jsonb prints it.

    Raises:
        ValueError: jsonb cannot hold what stands there.
    """
    found: list[str] = []
    for piece in _pieces(value):
        found.append(piece[:length])
        length -= len(piece)
        if length <= 0:
            break
    return "".join(found)


def print_number(number: str) -> str:
    """A JSON number as ``numeric`` prints it: without exponent, and zero without sign.

    Raises:
        ValueError: it is beyond numeric.
    """
    value, exponent = _read_number(number)
    if not value:
        value = Decimal((0, (0,), min(exponent, 0)))
    return format(value, "f")


def _read_number(number: str) -> tuple[Decimal, int]:
    try:
        value = Decimal(number)
    except InvalidOperation as error:
        raise ValueError(f"{number[:40]} is beyond numeric") from error
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if exponent < -_MAX_SCALE or (value and value.adjusted() >= _MAX_WHOLE_DIGITS):
        raise ValueError(f"{number[:40]} is beyond numeric")
    return value, exponent


def _measure_number(number: str) -> int:
    """How many characters :func:`print_number` gives."""
    value, exponent = _read_number(number)
    behind = 1 - exponent if exponent < 0 else 0
    if not value:
        return 1 + behind
    return value.is_signed() + max(value.adjusted() + 1, 1) + behind


def _measure(value: Any) -> int:
    """How many bytes a parsed value has as jsonb prints it.

    Raises:
        ValueError: jsonb cannot hold it.
    """
    return sum(
        _measure_number(token) if type(token) is Number else len(token.encode())
        for token in _tokens(value)
    )


def _pieces(value: Any) -> Iterator[str]:
    for token in _tokens(value):
        yield print_number(token) if type(token) is Number else token


def _tokens(value: Any) -> Iterator[str]:
    """The parts of the text, numbers as they are written; without recursion, however deep."""
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, Number | _Printed):
            yield each
        elif isinstance(each, str):
            yield _print_string(each)
        elif isinstance(each, dict):
            members = sorted((key.encode(), key) for key in each)
            # Shorter keys first, as jsonb orders them.
            members.sort(key=lambda member: len(member[0]))
            yield "{"
            todo.append(_Printed("}"))
            for at in range(len(members) - 1, -1, -1):
                key = members[at][1]
                todo += each[key], _Printed(f"{', ' if at else ''}{_print_string(key)}: ")
        elif isinstance(each, list):
            yield "["
            todo.append(_Printed("]"))
            for at in range(len(each) - 1, -1, -1):
                todo.append(each[at])
                if at:
                    todo.append(_Printed(", "))
        else:
            yield {None: "null", True: "true", False: "false"}[each]


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
            check(value)
    return found


def _loads_whole(text: str) -> Any:
    try:
        return _WHOLE_DECODER.decode(text)
    except RecursionError:
        return _loads_deep(text)


def _loads_deep(text: str) -> Any:
    """Parse JSON that is nested deeper than Python's parser follows, many times as slowly."""
    whole: list[Any] = []
    # What closes each array and object that is open, and what it has; objects have pairs.
    open_ones: list[tuple[str, list[Any]]] = [("", whole)]
    at, expects_value, may_close = _skip_space(text, 0), True, False
    while next_one := text[at : at + 1]:
        closing, items = open_ones[-1]
        if next_one == closing and (may_close or not expects_value):
            open_ones.pop()
            _put(open_ones[-1], _members(items) if closing == "}" else items)
            at, expects_value = at + 1, False
        elif not expects_value:
            if next_one != "," or not closing:
                break
            at, expects_value, may_close = at + 1, True, False
        else:
            if closing == "}":
                at = _read_name(text, at, items)
            may_close = text[at : at + 1] in _CLOSING
            if may_close:
                open_ones.append((_CLOSING[text[at]], []))
                at += 1
            else:
                value, at = _WHOLE_DECODER.raw_decode(text, at)
                _put(open_ones[-1], value)
            expects_value = may_close
        at = _skip_space(text, at)
    if at < len(text) or len(open_ones) > 1 or not whole:
        raise ValueError("it is not JSON")
    return whole[0]


def _read_name(text: str, at: int, items: list[Any]) -> int:
    """Read the name of a member; gives where its value begins."""
    if text[at] != '"':
        raise ValueError("it is not JSON")
    name, at = _WHOLE_DECODER.raw_decode(text, at)
    at = _skip_space(text, at)
    if text[at : at + 1] != ":":
        raise ValueError("it is not JSON")
    items.append(name)
    return _skip_space(text, at + 1)


def _put(into: tuple[str, list[Any]], value: Any) -> None:
    closing, items = into
    if closing == "}":
        items[-1] = (items[-1], value)
    else:
        items.append(value)


def _skip_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found
    return found.end()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_SPACE = re.compile(r"[ \t\n\r]*")
_CLOSING = {"{": "}", "[": "]"}

_encode_string = json.JSONEncoder(ensure_ascii=False).encode
_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_refuse)
_WHOLE_DECODER = json.JSONDecoder(
    parse_int=Number,
    parse_float=Number,
    parse_constant=_refuse,
    object_pairs_hook=_members,
)
