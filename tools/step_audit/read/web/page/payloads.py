"""JSON text made readable: only its white space changes, so that every digit stays."""

from __future__ import annotations

import re

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+|"')
_INDENT = "  "
# Deeper than this, lines are not moved further to the right.
_MAX_DEPTH = 20


def indent(text: str) -> str:
    """JSON text with a line for each member and element; any other text comes out as some text."""
    pieces: list[str] = []
    depth = 0
    tokens = _TOKEN.findall(text)
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        if token in "]}" and pieces[-1:] not in (["["], ["{"]):
            depth -= 1
            pieces.append(_line(depth))
        pieces.append(token)
        if token in "[{" and following not in ("]", "}"):
            depth += 1
            pieces.append(_line(depth))
        elif token == ",":
            pieces.append(_line(depth))
        elif token == ":":
            pieces.append(" ")
    return "".join(pieces)


def _line(depth: int) -> str:
    return "\n" + _INDENT * max(0, min(depth, _MAX_DEPTH))
