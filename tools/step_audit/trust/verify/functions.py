"""Our functions, attribute by attribute, against the files of this release."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from step_audit.database import Connection
from step_audit.setup.sources import SourceFile, Sources
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import FILES, Place

_ROUTINE = re.compile(
    r"^CREATE OR REPLACE (?P<kind>FUNCTION|PROCEDURE) (?P<name>\w+) ?\((?P<head>.*?)\nAS \$\$"
    r"(?P<body>.*?)\$\$;$",
    re.M | re.S,
)
_SETTING = re.compile(r"^SET (\w+) (?:= '?(.*?)'?|FROM CURRENT)$", re.MULTILINE)
_TYPES = {
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "varchar": "character varying",
    "int": "integer",
    "bool": "boolean",
}
# Outside of quotes.
_COMMA = re.compile(r", (?=(?:[^']*'[^']*')*[^']*$)")
_CAST = re.compile(r"::[a-z ]+(\[\])?$")


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


_FUNCTIONS = """
SELECT
    p.proname AS name,
    p.oid,
    p.prokind::pg_catalog.text AS kind,
    l.lanname AS language,
    p.prosrc AS body,
    p.prosqlbody IS NOT NULL AS has_tree,
    p.provolatile::pg_catalog.text AS volatility,
    p.proparallel::pg_catalog.text AS parallel,
    p.prosecdef AS is_definer,
    p.proisstrict AS is_strict,
    p.proleakproof AS is_leakproof,
    p.proretset AS gives_rows,
    p.provariadic <> 0::pg_catalog.oid AS is_variadic,
    p.prosupport <> 0::pg_catalog.oid AS has_support,
    coalesce(p.proconfig, '{}') AS settings,
    p.proowner AS owner,
    p.probin AS library,
    pg_catalog.format_type(p.prorettype, NULL) AS returns,
    coalesce(p.proargmodes::pg_catalog.text[], '{}') AS modes,
    coalesce(p.proargnames, '{}') AS names,
    ARRAY(
        SELECT pg_catalog.format_type(t.oid, NULL)
        FROM pg_catalog.unnest(
            coalesce(p.proallargtypes, p.proargtypes::pg_catalog.oid[])
        ) WITH ORDINALITY AS t (oid, place)
        ORDER BY t.place
    ) AS types,
    p.pronargdefaults AS defaults,
    pg_catalog.pg_get_expr(p.proargdefaults, 0::pg_catalog.oid) AS default_text,
    'search_path=' || pg_catalog.quote_ident(n.nspname) || ', pg_temp' AS search_path,
    p.proowner = c.relowner OR r.rolsuper AS is_of_owner
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON p.pronamespace = n.oid
JOIN pg_catalog.pg_language AS l ON p.prolang = l.oid
JOIN pg_catalog.pg_roles AS r ON p.proowner = r.oid
JOIN pg_catalog.pg_class AS c ON c.oid = %s
WHERE n.nspname = %s AND p.proname = ANY(%s)
ORDER BY p.proname, p.oid
"""


def examine_functions(
    conn: Connection, place: Place, sources: Sources
) -> Iterator[Finding | str | int]:
    """Each function of this release is there, as its file makes it, and has no namesake."""
    routines = [routine for file in sources.functions for routine in list_routines(file)]
    names = sorted({routine.name for routine in routines})
    rows = conn.execute(_FUNCTIONS, (place[FILES].oid, place.schema, names)).fetchall()
    found = {(row["name"], _inputs(row, place)): row for row in rows}
    told = set()
    for routine in routines:
        yield 1
        row = found.pop((routine.name, routine.inputs), None)
        problem = "gone" if row is None else _problem(routine, row, place)
        if problem and routine.name not in told:
            told.add(routine.name)
            kind = "missing object" if row is None else "altered object"
            yield Finding(kind, field=f"function {routine.name}", stored=problem)
    for (name, inputs), _ in found.items():
        yield Finding("foreign object", field=f"function {name}({', '.join(inputs)})")


def _inputs(row: dict[str, Any], place: Place) -> tuple[str, ...]:
    modes = row["modes"] or ["i"] * len(row["types"])
    return tuple(
        _unqualified(each, place)
        for each, mode in zip(row["types"], modes, strict=True)
        if mode not in {"o", "t"}
    )


def _unqualified(name: str, place: Place) -> str:
    return name.removeprefix(f"{place.schema}.").removeprefix(f'"{place.schema}".')


def _problem(routine: Routine, row: dict[str, Any], place: Place) -> str | None:
    """What is not as the file makes it."""
    settings = [
        f"{name}={value}" if value else row["search_path"]
        for name, value in _SETTING.findall(routine.options)
    ]
    volatility = next(
        (each[0].lower() for each in ("IMMUTABLE", "STABLE") if routine.has(each)), "v"
    )
    modes = [each[0] for each in routine.arguments]
    defaults = [each[3] for each in routine.arguments if each[3]]
    checks = {
        "its kind": row["kind"] == ("p" if routine.is_procedure else "f"),
        "its language": f"\nLANGUAGE {row['language']}\n" in routine.options,
        "its text": row["body"] == routine.body and not row["has_tree"] and not row["library"],
        "its volatility": routine.is_procedure or row["volatility"] == volatility,
        "its parallel safety": row["parallel"] == ("s" if routine.has("PARALLEL SAFE") else "u"),
        "whose rights it has": row["is_definer"] is routine.has("SECURITY DEFINER"),
        "that it is strict": row["is_strict"] is routine.has("STRICT"),
        "that it is leakproof": row["is_leakproof"] is routine.has("LEAKPROOF"),
        "that it is variadic": not row["is_variadic"],
        "its planner support": not row["has_support"],
        # The server has its own upper and lower case in the names of settings.
        "its settings": sorted(map(str.lower, row["settings"])) == sorted(map(str.lower, settings)),
        "its arguments": (row["modes"] or ["i"] * len(row["types"])) == modes
        and (row["names"] or []) == [each[1] for each in routine.arguments]
        and [_unqualified(each, place) for each in row["types"]]
        == [each[2] for each in routine.arguments],
        "defaults of its arguments": row["defaults"] == len(defaults)
        and _same_defaults(row["default_text"], defaults),
        "its owner": row["is_of_owner"],
    }
    wrong = [name for name, holds in checks.items() if not holds]
    return f"altered: {', '.join(wrong)}" if wrong else None


def _same_defaults(text: str | None, defaults: list[str]) -> bool:
    if not defaults:
        return text is None
    found = [_CAST.sub("", each) for each in _COMMA.split(text or "")]
    # An interval is printed in its own way.
    expected = [{"'0'": "'00:00:00'"}.get(each, _CAST.sub("", each)) for each in defaults]
    return [each.lower() for each in found] == [each.lower() for each in expected]
