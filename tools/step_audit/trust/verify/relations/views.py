"""Our views are those that the attach makes, word for word.

The server prints a view from what it has stored, which runs nothing of the owner's, and does so in
the same words from 15 to 18. The file that makes the view is written in these words too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from psycopg import errors

from step_audit.database import Connection
from step_audit.setup.sources import Sources
from step_audit.trust.verify.relations.ledger import read_ledger
from step_audit.trust.verify.report import Finding
from step_audit.trust.verify.tables import NAMED_STEPS, STEPS, TASKS, TRANSITIONS, Place

VIEW = "step_audits"
_HOST = (TASKS, STEPS, NAMED_STEPS, TRANSITIONS)

# How today's engines and others call the table behind a name.
_PREFIXES = ("", "tasker_")

_VIEWS = """
SELECT
    c.relname AS name,
    c.relkind::pg_catalog.text AS kind,
    pg_catalog.lower(pg_catalog.array_to_string(c.reloptions, ', ')) AS options,
    CASE c.relkind WHEN 'v' THEN pg_catalog.pg_get_viewdef(c.oid, TRUE) END AS definition,
    pg_catalog.quote_ident(n.nspname) AS schema_name,
    pg_catalog.quote_ident(%(prefix)s || pg_catalog.substr(c.relname, 8)) AS base_name,
    pg_catalog.quote_ident(%(host_schema)s) AS base_schema,
    (
        SELECT b.relkind::pg_catalog.text
        FROM pg_catalog.pg_class AS b
        JOIN pg_catalog.pg_namespace AS s ON b.relnamespace = s.oid
        WHERE
            s.nspname = %(host_schema)s
            AND b.relname = %(prefix)s || pg_catalog.substr(c.relname, 8)
    ) AS base_kind,
    ARRAY(
        SELECT 'rule ' || r.rulename
        FROM pg_catalog.pg_rewrite AS r
        WHERE r.ev_class = c.oid AND c.relkind = 'v' AND r.rulename <> '_RETURN'
        UNION ALL
        SELECT 'trigger ' || t.tgname
        FROM pg_catalog.pg_trigger AS t
        WHERE t.tgrelid = c.oid AND c.relkind = 'v'
        ORDER BY 1
    ) AS strangers
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON c.relnamespace = n.oid
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(names)s)
ORDER BY c.relname
"""

# To print a view, the server locks what it shows. Where a migration of the engine holds that, it is
# not waited for: the migration may want what is locked here, and a deadlock would end either.
_PATIENCE = "SET LOCAL lock_timeout = '50ms'"


def examine_views(
    conn: Connection, place: Place, sources: Sources
) -> Iterator[Finding | str | int]:
    """The views are made as the attach makes them, and show the tables it was attached to."""
    recorded = read_ledger(conn, place)
    host = place[TRANSITIONS]
    is_shown = (host.schema_name, host.table_name) != (place.schema, TRANSITIONS)
    is_shown = is_shown and _prefix(place) in _PREFIXES
    try:
        # Rolled back, so that the locks are given back at once.
        with conn.transaction(force_rollback=True):
            conn.execute(_PATIENCE)
            rows = _list_views(conn, place)
    except (errors.LockNotAvailable, errors.InternalError_):
        yield (
            f"the views of schema {place.schema} were not looked at, as what they show is locked "
            "by a migration of the engine: verify again when that has ended"
        )
        return
    for name in (VIEW, *_HOST):
        is_view = name == VIEW or is_shown
        row = rows.get(name)
        if row is None:
            yield Finding("missing object", field=f"{'view' if is_view else 'table'} {name}")
            continue
        if not is_view and row["kind"] in {"r", "p"}:
            continue
        yield 1
        problem = (
            _problem(row, _made_by_release(sources, row["schema_name"]))
            if name == VIEW
            else _host_problem(row, sources, recorded.get(f"view {name}"), place)
        )
        if problem:
            yield Finding("altered object", field=f"view {name}", stored=problem)
        for stranger in row["strangers"]:
            yield Finding("foreign object", field=f"{stranger} on view {name}")


def _list_views(conn: Connection, place: Place) -> dict[str, dict[str, Any]]:
    arguments = {
        "schema": place.schema,
        "names": [VIEW, *_HOST],
        "host_schema": place.host_schema,
        "prefix": _prefix(place),
    }
    return {row["name"]: row for row in conn.execute(_VIEWS, arguments)}


def _prefix(place: Place) -> str:
    return place[TRANSITIONS].table_name.removesuffix(TRANSITIONS.removeprefix("tasker_"))


def _problem(row: dict[str, Any], *expected: str) -> str | None:
    if row["kind"] != "v":
        return "no view"
    if row["options"] != "security_invoker=true":
        return f"a view with other options: {row['options'] or 'none'}"
    if _words(row["definition"]) not in [_words(each) for each in expected]:
        return "not what this release makes it"
    return None


def _host_problem(
    row: dict[str, Any], sources: Sources, recorded: str | None, place: Place
) -> str | None:
    """What is not as today's layout has it: a view of the columns in use, straight on a table."""
    base = f"{row['base_schema']}.{row['base_name']}"
    names = {base} if row["base_schema"] != row["schema_name"] else {base, row["base_name"]}
    if row["kind"] == "v" and (
        _prefix(place) not in _PREFIXES or row["base_kind"] not in {"r", "p"}
    ):
        return "a view of no table of an engine"
    if (recorded or "").rpartition("; of ")[2] not in names:
        return f"a view of {base}, which is not what step-audit was attached to"
    columns = _list_host_columns(sources)[row["name"]]
    # 15 writes the table before each column.
    return _problem(
        row,
        *(
            f"SELECT {', '.join(prefix + each for each in columns)} FROM {base};"
            for prefix in ("", f"{row['base_name']}.")
        ),
    )


_CREATE = re.compile(rf"CREATE VIEW {VIEW} WITH \(security_invoker = TRUE\) AS\n(?P<query>[^;]*;)")
_OURS = re.compile(
    r"\b(?:(?<=FROM )|(?<=JOIN ))(?:tasker|step_audit)_\w+|\bget_step_result\b|\bget_utc_time\b"
)


def _made_by_release(sources: Sources, schema: str) -> str:
    """The query of the view, with the names of ours qualified."""
    text = re.sub(r"--.*", "", _text_of(sources, "create_step_audits_view"))
    match = _CREATE.search(text)
    assert match, text
    return _OURS.sub(lambda each: f"{schema}.{each[0]}", match["query"])


def _list_host_columns(sources: Sources) -> dict[str, list[str]]:
    """The columns in use of each of the engine's tables."""
    columns: dict[str, list[str]] = {}
    rows = re.findall(r"\('(\w+)', '(\w+)', '\{", _text_of(sources, "list_host_columns"))
    for table, column in rows:
        columns.setdefault(f"tasker_{table}", []).append(column)
    return columns


def _text_of(sources: Sources, function: str) -> str:
    (text,) = (file.text for file in sources.functions if file.name == function)
    return text


_WORD = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\w+|\S")

# What a column's own type makes needless, and then is not printed.
_NEEDLESS = re.compile(
    r"\b((?:n \. name|t \. (?:from|to)_state|before \. to_state) : : text"
    r"|t \. sort_key : : bigint)\b"
)

# A column's own name is not printed as its alias.
_SAME_NAME = re.compile(r"(\w+ \. (\w+)) \2(?= ,)")


def _words(query: str) -> str:
    """A query without line breaks, upper case and AS, and without casts that may be needless."""
    words = [each if each[0] in "'\"" else each.lower() for each in _WORD.findall(query)]
    text = " ".join(each for each in words if each != "as")
    text = _NEEDLESS.sub(lambda each: each[0].partition(" : :")[0], text)
    return _SAME_NAME.sub(r"\1", text)
