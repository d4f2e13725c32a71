"""The indexes of this release are there, and none hides rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from step_audit.database import Connection
from step_audit.setup.sources import Sources
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import OWN, Place

_INDEXES = """
SELECT
    x.indrelid AS oid,
    i.relname AS name,
    m.amname AS method,
    x.indisvalid AND x.indisready AND x.indislive AS is_usable,
    pg_catalog.pg_get_expr(x.indpred, x.indrelid) AS predicate,
    x.indexprs IS NOT NULL AS has_expressions,
    (
        SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY k.place)
        FROM pg_catalog.unnest(x.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
    ) AS columns,
    EXISTS (
        SELECT FROM pg_catalog.pg_constraint AS c
        WHERE c.conindid = x.indexrelid AND c.contype IN ('p', 'u')
    ) AS is_of_key
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS i ON x.indexrelid = i.oid
JOIN pg_catalog.pg_am AS m ON i.relam = m.oid
WHERE x.indrelid = ANY(%s)
ORDER BY i.relname
"""

_CREATE_INDEX = re.compile(
    r"^CREATE INDEX (?P<name>\w+)\nON (?P<table>\w+)(?: USING (?P<method>\w+))? "
    r"\((?P<columns>[^)]*)\)(?: WITH \([^)]*\))?(?:\nWHERE (?P<predicate>[^;]*))?;",
    re.MULTILINE,
)

# An index that REINDEX CONCURRENTLY builds or drops has the name of another and this behind it.
_TRANSIENT = re.compile(r"_cc(new|old)\d*$")


def examine_indexes(
    conn: Connection, place: Place, sources: Sources
) -> Iterator[Finding | str | int]:
    """The indexes of this release are there, and no other has a condition or an expression."""
    wanted = {
        match["name"]: match
        for file in sources.migrations
        for match in _CREATE_INDEX.finditer(file.text)
    }
    own = {place[name].oid: name for name in OWN}
    for row in conn.execute(_INDEXES, (list(own),)).fetchall():
        name, table = row["name"], own[row["oid"]]
        match = wanted.pop(name, None)
        field = f"index {name}"
        if match is not None:
            yield 1
            fits = (
                match["table"] == table
                and row["method"] == (match["method"] or "btree")
                and row["columns"] == [each.strip() for each in match["columns"].split(",")]
                and _bare(row["predicate"]) == _bare(match["predicate"])
                and not row["has_expressions"]
            )
            if not fits:
                yield Finding("altered object", field=field, stored=_limits(row))
            elif not row["is_usable"]:
                yield Finding("altered object", field=field, stored="invalid")
        elif (
            not row["is_of_key"]
            and (row["predicate"] or row["has_expressions"])
            and not _TRANSIENT.search(name)
        ):
            yield Finding("foreign object", field=f"{field} on {table}", stored=_limits(row))
    for name in wanted:
        yield Finding("missing object", field=f"index {name}")


def _limits(row: dict[str, Any]) -> str | None:
    return row["predicate"] and f"limited to {row['predicate']}"


def _bare(text: str | None) -> str:
    """Without the parentheses and spaces that Postgres sets otherwise than a file does."""
    return re.sub(r"[() ]", "", text or "").strip()
