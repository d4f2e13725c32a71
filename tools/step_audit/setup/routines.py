"""The routines of this release, as their files make them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from step_audit.setup.sources import SourceFile

_ROUTINE = re.compile(
    r"^CREATE OR REPLACE (?P<kind>FUNCTION|PROCEDURE) (?P<name>\w+) ?\((?P<head>.*?)\nAS \$\$"
    r"(?P<body>.*?)\$\$;$",
    re.M | re.S,
)
_SETTING = re.compile(r"^SET (\w+) (?:= '?(.*?)'?|FROM CURRENT)$", re.MULTILINE)
_RETURNS = re.compile(r"^RETURNS (?P<set>SETOF )?(?P<type>[\w. \[\]]+)$", re.MULTILINE)
_TYPES = {
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "varchar": "character varying",
    "int": "integer",
    "bool": "boolean",
}


@dataclass(frozen=True)
class Routine:
    """A routine as its file makes it; arguments are mode, name, type and default."""

    name: str
    is_procedure: bool
    arguments: tuple[tuple[str, str, str, str | None], ...]
    options: str
    body: str

    def has(self, option: str) -> bool:
        """Whether a line of its options says so."""
        return f"\n{option}\n" in self.options

    @property
    def settings(self) -> list[tuple[str, str]]:
        """Names and values; no value where it is what it was when the file was run."""
        return _SETTING.findall(self.options)

    @property
    def returns(self) -> str | None:
        """The type of its result, where that is one type, or of each row."""
        match = _RETURNS.search(self.options)
        return match and _type(match["type"])

    @property
    def gives_rows(self) -> bool:
        """Whether it gives a set of rows."""
        match = _RETURNS.search(self.options)
        return any(each[0] == "t" for each in self.arguments) or bool(match and match["set"])

    @property
    def inputs(self) -> tuple[str, ...]:
        """The types that tell it from others of its name."""
        return tuple(each[2] for each in self.arguments if each[0] not in {"o", "t"})


def list_routines(file: SourceFile) -> list[Routine]:
    """The routines of a file."""
    found = []
    for match in _ROUTINE.finditer(file.text):
        arguments, options = _split_arguments(match["head"])
        columns = re.search(r"^RETURNS TABLE \(", options, re.MULTILINE)
        if columns:
            listed, rest = _split_arguments(options[columns.end() :])
            options = options[: columns.start()] + rest
            arguments += [("t", *each[1:]) for each in listed]
        found.append(
            Routine(
                match["name"],
                match["kind"] == "PROCEDURE",
                tuple(arguments),
                options + "\n",
                match["body"],
            )
        )
    return found


def _split_arguments(text: str) -> tuple[list[tuple[str, str, str, str | None]], str]:
    """Arguments up to the parenthesis that ends them, and what is behind it."""
    depth, quoted, parts, start = 0, False, [], 0
    for place, character in enumerate(text):
        if character == "'":
            quoted = not quoted
        elif quoted:
            continue
        elif character == "(":
            depth += 1
        elif character == ")" and depth:
            depth -= 1
        elif character == ")" or (character == "," and not depth):
            parts.append(text[start:place].strip())
            start = place + 1
            if character == ")":
                return [_read_argument(part) for part in parts if part], text[place + 1 :]
    raise AssertionError(text)


def _read_argument(text: str) -> tuple[str, str, str, str | None]:
    definition, _, default = text.partition(" DEFAULT ")
    words = definition.split()
    mode = "i"
    if words[0] in {"OUT", "INOUT", "VARIADIC"}:
        mode = {"OUT": "o", "INOUT": "b", "VARIADIC": "v"}[words.pop(0)]
    name, *type_words = words
    return mode, name, _type(" ".join(type_words)), default or None


def _type(name: str) -> str:
    base = name.removeprefix("pg_catalog.")
    array = base[-2:] if base.endswith("[]") else ""
    base = base.removesuffix("[]")
    return _TYPES.get(base, base) + array
