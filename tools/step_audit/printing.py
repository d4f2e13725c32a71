"""Text of others as it is printed: a name with a line break in it must not pass for a line of ours.

Names of tables and indexes, reasons, file names: whoever may choose them may put escape sequences,
line breaks or marks that turn the direction of writing into them.
"""

from __future__ import annotations

import re

# Where JSON is printed unescaped: what is beyond ASCII stands in strings alone.
_NOT_IN_JSON = re.compile(r"[^\x20-\x7e]")


def printable(text: str) -> str:
    """The text on one line, with escapes as Python writes them for what cannot be seen."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def printable_json(text: str) -> str:
    """JSON on one line, with JSON's own escapes for what cannot be seen; it says the same."""
    if text.isprintable():
        return text
    return _NOT_IN_JSON.sub(lambda found: _escape_json(found[0]), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _escape_json(character: str) -> str:
    if character.isprintable():
        return character
    if character in "\t\n\r":
        # Between tokens, as within strings they are escaped already.
        return " "
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
