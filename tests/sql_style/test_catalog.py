"""What an install leaves in the catalog: each object explained, and nothing open to PUBLIC."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pytest
from pglast import ast

from step_audit.database import Connection
from step_audit.setup.sources import load_sources
from tests.sql_style.checks import INLINED
from tests.sql_style.sql_tree import called_functions, is_a, statements
from tests.support.host import HOST

SOURCES = load_sources(Path(__file__).parents[2])
ROUTINES = {PurePosixPath(file.path).stem: file.text for file in SOURCES.functions}
TABLES = [
    statement.relation.relname
    for file in SOURCES.migrations
    for statement in statements(file.text)
    if is_a(statement, ast.CreateStmt)
]

# Every object of step-audit in the schema; the index of a constraint is explained there.
OBJECTS = """
WITH tables AS (
    SELECT oid, relname FROM pg_class
    WHERE relnamespace = %(schema)s::regnamespace AND relname = ANY (%(tables)s)
),

objects (name, comment) AS (
    SELECT 'routine ' || proname, obj_description(oid, 'pg_proc')
    FROM pg_proc WHERE pronamespace = %(schema)s::regnamespace AND proname = ANY (%(routines)s)
    UNION ALL
    SELECT 'table ' || relname, obj_description(oid, 'pg_class') FROM tables
    UNION ALL
    SELECT 'column ' || relname || '.' || attname, col_description(attrelid, attnum)
    FROM tables JOIN pg_attribute ON tables.oid = attrelid
    WHERE attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'constraint ' || relname || '.' || conname, obj_description(c.oid, 'pg_constraint')
    FROM tables JOIN pg_constraint AS c ON tables.oid = conrelid
    WHERE contype <> 'n'
    UNION ALL
    SELECT 'index ' || indexrelid::regclass, obj_description(indexrelid, 'pg_class')
    FROM tables JOIN pg_index ON tables.oid = indrelid
    WHERE indexrelid NOT IN (SELECT conindid FROM pg_constraint)
    UNION ALL
    SELECT 'trigger ' || tgname, obj_description(g.oid, 'pg_trigger')
    FROM pg_trigger AS g JOIN pg_proc AS p ON tgfoid = p.oid
    WHERE NOT tgisinternal
        AND pronamespace = %(schema)s::regnamespace AND proname = ANY (%(routines)s)
    ORDER BY 1
)

SELECT name FROM objects
"""

# Routines whose search_path a caller can divert; what commits cannot be pinned.
UNPINNED = """
SELECT proname::text AS name FROM pg_proc
WHERE pronamespace = %(schema)s::regnamespace AND proname = ANY (%(routines)s)
    AND prokind = 'f'
    AND %(search_path)s <> ALL (coalesce(proconfig, '{}'))
"""

OPEN_TO_PUBLIC = """
SELECT relname || ': ' || privilege_type AS name
FROM pg_class, aclexplode(coalesce(relacl, acldefault('r', relowner)))
WHERE relnamespace = %(schema)s::regnamespace AND relname = ANY (%(tables)s) AND grantee = 0
UNION ALL
SELECT proname || ': ' || privilege_type
FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
WHERE pronamespace = %(schema)s::regnamespace AND prosecdef AND grantee = 0
"""

# The labels of each function by name, as ranks: how volatile, and how unsafe in parallel.
LABELS = """
SELECT
    proname::text AS name,
    min(array_position('{i,s,v}', provolatile::text)) AS volatility,
    min(array_position('{s,r,u}', proparallel::text)) AS parallel
FROM pg_proc WHERE pronamespace IN ('pg_catalog'::regnamespace, %(schema)s::regnamespace)
GROUP BY proname
"""


def names(conn: Connection, query: str) -> list[str]:
    rows = conn.execute(
        query.encode(),
        {
            "schema": HOST.audit_schema,
            "search_path": f"search_path={HOST.audit_schema}, pg_temp",
            "tables": TABLES,
            "routines": list(ROUTINES),
        },
    )
    return [row["name"] for row in rows]


def uncommented(conn: Connection) -> list[str]:
    return names(conn, f"{OBJECTS} WHERE comment IS NULL")


def mislabelled(conn: Connection) -> list[str]:
    """Functions that promise more than a function they call."""
    labels = {
        row["name"]: row for row in conn.execute(LABELS.encode(), {"schema": HOST.audit_schema})
    }
    return [
        f"{name} calls {called}: {label}"
        for name, text in ROUTINES.items()
        for called in sorted(_last_parts(called_functions(text)) & labels.keys())
        for label in ("volatility", "parallel")
        if labels[called][label] > labels[name][label]
    ]


def _last_parts(qualified: Iterable[str]) -> set[str]:
    return {name.rpartition(".")[2] for name in qualified}


def test_each_object_is_looked_at(conn: Connection) -> None:
    objects = names(conn, OBJECTS)
    routines = [f"routine {name}" for name in sorted(ROUTINES)]
    tables = [f"table {name}" for name in sorted(TABLES)]
    assert sorted({o for o in objects if o.startswith("routine ")}) == routines != []
    assert [o for o in objects if o.startswith("table ")] == tables != []
    kinds = {o.partition(" ")[0] for o in objects}
    assert kinds == {"routine", "table", "column", "constraint", "index", "trigger"}


def test_each_object_has_a_comment(conn: Connection) -> None:
    assert uncommented(conn) == []


def test_no_caller_can_divert_a_function(conn: Connection) -> None:
    assert set(names(conn, UNPINNED)) == INLINED


def test_public_has_no_right_on_the_audit(conn: Connection) -> None:
    assert names(conn, OPEN_TO_PUBLIC) == []


def test_no_function_promises_more_than_it_calls(conn: Connection) -> None:
    assert mislabelled(conn) == []


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("FUNCTION is_worker_result(text)", "routine is_worker_result"),
        ("TABLE step_audit_files", "table step_audit_files"),
        ("COLUMN step_audit_files.path", "column step_audit_files.path"),
        (
            "CONSTRAINT pk_audit ON tasker_workflow_step_result_audit",
            "constraint tasker_workflow_step_result_audit.pk_audit",
        ),
        ("INDEX idx_audit_task_uuid", "index idx_audit_task_uuid"),
        (
            f"TRIGGER {HOST.trigger} ON {HOST.transitions}",
            f"trigger {HOST.trigger}",
        ),
    ],
)
def test_lost_comment_is_found(conn: Connection, target: str, found: str) -> None:
    with conn.transaction(force_rollback=True):
        conn.execute(f"COMMENT ON {target} IS NULL".encode())
        assert uncommented(conn) == [found]


@pytest.mark.parametrize("change", ["RESET search_path", f"SET search_path = {HOST.audit_schema}"])
def test_unpinned_function_is_found(conn: Connection, change: str) -> None:
    with conn.transaction(force_rollback=True):
        conn.execute(f"ALTER FUNCTION get_step_result(jsonb, uuid) {change}".encode())
        assert set(names(conn, UNPINNED)) == {"get_step_result", *INLINED}


@pytest.mark.parametrize(
    ("right", "found"),
    [
        ("SELECT ON step_audit_files", "step_audit_files: SELECT"),
        ("EXECUTE ON FUNCTION create_step_result_audit()", "create_step_result_audit: EXECUTE"),
    ],
)
def test_right_of_public_is_found(conn: Connection, right: str, found: str) -> None:
    with conn.transaction(force_rollback=True):
        conn.execute(f"GRANT {right} TO public".encode())
        assert names(conn, OPEN_TO_PUBLIC) == [found]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            "get_step_audit_health() IMMUTABLE",
            [
                "get_step_audit_health calls get_host_table: volatility",
                "get_step_audit_health calls list_step_audit_problems: volatility",
            ],
        ),
        (
            "get_step_audit_health() PARALLEL SAFE",
            [
                "get_step_audit_health calls get_host_table: parallel",
                "get_step_audit_health calls list_step_audit_problems: parallel",
            ],
        ),
    ],
)
def test_false_promise_is_found(conn: Connection, change: str, found: list[str]) -> None:
    with conn.transaction(force_rollback=True):
        before = mislabelled(conn)
        conn.execute(f"ALTER FUNCTION {change}".encode())
        assert [fault for fault in mislabelled(conn) if fault not in before] == found
