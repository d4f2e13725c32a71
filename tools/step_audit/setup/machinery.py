"""Whether the functions in a schema are those of this release, attribute by attribute.

All is compared here, as a function that was changed cannot be asked about itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from step_audit.database import Connection
from step_audit.setup.routines import Routine, list_routines
from step_audit.setup.sources import SourceFile, Sources

OWNER = "its owner"
"""The difference that no file makes good, but the attach."""

# Outside of quotes.
_COMMA = re.compile(r", (?=(?:[^']*'[^']*')*[^']*$)")
_BELOW_ZERO = re.compile(r"^'(-\d+)'$")
_CAST = re.compile(r"::[a-z ]+(\[\])?$")


@dataclass(frozen=True)
class Compared:
    """A routine of this release beside the one that the catalog has.

    Attributes:
        file: what makes it.
        name: its name.
        is_there: whether the catalog has one of its name and arguments.
        differences: what is not as the file makes it, for people.
    """

    file: SourceFile
    name: str
    is_there: bool
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Namesake:
    """A routine that has the name of one of ours, and other arguments: a call could reach it."""

    signature: str


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
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = 'step_audit_files'
WHERE n.nspname = %s AND p.proname = ANY(%s)
ORDER BY p.proname, p.oid
"""


def find_altered_functions(conn: Connection, schema: str, sources: Sources) -> set[str]:
    """Paths of the functions that are missing from ``schema`` or not as in ``sources``."""
    return {
        each.file.path
        for each in compare_functions(conn, schema, sources)
        if isinstance(each, Compared)
        and (not each.is_there or any(difference != OWNER for difference in each.differences))
    }


def compare_functions(
    conn: Connection, schema: str, sources: Sources
) -> Iterator[Compared | Namesake]:
    """Each routine of ``sources`` beside what ``schema`` has, and then what has its name there."""
    routines = [(file, each) for file in sources.functions for each in list_routines(file)]
    names = sorted({routine.name for _, routine in routines})
    rows = _read_functions(conn, schema, names)
    found = {(row["name"], _inputs(row, schema)): row for row in rows}
    for file, routine in routines:
        row = found.pop((routine.name, routine.inputs), None)
        if row is None:
            yield Compared(file, routine.name, is_there=False)
        else:
            yield Compared(
                file,
                routine.name,
                is_there=True,
                differences=_list_differences(routine, row, schema),
            )
    for name, inputs in found:
        yield Namesake(f"{name}({', '.join(inputs)})")


def _read_functions(conn: Connection, schema: str, names: list[str]) -> list[dict[str, Any]]:
    # Defaults are printed as settings have it: an interval, and a name.
    with conn.transaction(force_rollback=True):
        conn.execute("SET LOCAL IntervalStyle = postgres; SET LOCAL quote_all_identifiers = off")
        return conn.execute(_FUNCTIONS, (schema, names)).fetchall()


def _inputs(row: dict[str, Any], schema: str) -> tuple[str, ...]:
    modes = row["modes"] or ["i"] * len(row["types"])
    return tuple(
        _unqualified(each, schema)
        for each, mode in zip(row["types"], modes, strict=True)
        if mode not in {"o", "t"}
    )


def _unqualified(name: str, schema: str) -> str:
    quoted = schema.replace('"', '""')
    return name.removeprefix(f"{schema}.").removeprefix(f'"{quoted}".')


def _list_differences(routine: Routine, row: dict[str, Any], schema: str) -> tuple[str, ...]:
    """What is not as the file makes it."""
    settings = [
        f"{name}={value}" if value else row["search_path"] for name, value in routine.settings
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
        and [_unqualified(each, schema) for each in row["types"]]
        == [each[2] for each in routine.arguments],
        "its result": row["gives_rows"] is routine.gives_rows
        and (not routine.returns or _unqualified(row["returns"], schema) == routine.returns),
        "defaults of its arguments": row["defaults"] == len(defaults)
        and _same_defaults(row["default_text"], defaults),
        OWNER: row["is_of_owner"],
    }
    return tuple(name for name, holds in checks.items() if not holds)


def _same_defaults(text: str | None, defaults: list[str]) -> bool:
    if not defaults:
        return text is None
    # What is below zero is printed as text: '-1'::integer.
    found = [_BELOW_ZERO.sub(r"\1", _CAST.sub("", each)) for each in _COMMA.split(text or "")]
    # An interval is printed in its own way.
    expected = [{"'0'": "'00:00:00'"}.get(each, _CAST.sub("", each)) for each in defaults]
    return [each.lower() for each in found] == [each.lower() for each in expected]
