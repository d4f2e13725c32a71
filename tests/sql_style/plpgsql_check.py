"""plpgsql_check, every warning on, finds only what is justified, and finds what is broken.

Needs Debian's packages postgresql-15 and postgresql-15-plpgsql-check, so pytest collects it only
where it is named: ``pytest tests/sql_style/plpgsql_check.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from step_audit.database import Connection
from step_audit.demo.embedded import EmbeddedServer
from step_audit.setup.sources import load_sources
from tests.support.connect import connect
from tests.support.host import HOST
from tests.support.install import install_audit

BINARIES = Path("/usr/lib/postgresql/15/bin")
SOURCES = load_sources(Path(__file__).parents[2])

_UNSANITIZED = (
    "text type variable is not sanitized: The EXECUTE expression is SQL injection vulnerable."
)
_CAST = "target type is different type than source type: cast"
_UNKNOWN = (
    'record "p_old" is not assigned yet: The tuple structure of a not-yet-assigned record is '
    "indeterminate."
)
JUSTIFIED = [
    # The text of a regclass is quoted already, and so are lists of quoted names.
    f"grant_step_audit: {_UNSANITIZED}",
    f"lock_host_tables: {_UNSANITIZED}",
    f"lock_host_tables: {_UNSANITIZED}",
    f"show_host_tables: {_UNSANITIZED}",
    f"show_host_tables: {_UNSANITIZED}",
    # Definitions that stand in the function itself, and statements that another one quotes.
    f"create_host_triggers: {_UNSANITIZED}",
    f"declare_step_audit_keys: {_UNSANITIZED}",
    f"give_step_audit_to: {_UNSANITIZED}",
    f"guard_step_audit_tables: {_UNSANITIZED}",
    f"repair_step_audit_rights: {_UNSANITIZED}",
    f"transition_workflow_step: {_UNSANITIZED}",
    # It counts an array that is VARIADIC as one argument.
    "erase_step_audit_transition: too few arguments for format()",
    "plan_step_audit_erasure: too few arguments for format()",
    "plan_step_audit_erasure: too few arguments for format()",
    "record_operator_action: too few arguments for format()",
    "record_step_audit_truncate: too few arguments for format()",
    # A row of each table of ours in turn; what a branch reads is of the table that it is for.
    *[f"is_step_audit_purged: {_UNKNOWN}"] * 15,
    'is_step_audit_purged: unused parameter "p_old"',
    *(
        f'reject_audit_change: record "{record}" has no field "{name}"'
        for record, names in {
            "new": ("metadata_json", "payload", "raw_value"),
            "old": (
                "leaf_index",
                "step_audit_change_uuid",
                "step_audit_event_uuid",
                "workflow_step_result_audit_uuid",
            ),
            "v_kept": ("metadata_json", "payload", "raw_value"),
        }.items()
        for name in names
    ),
    # Its loop ends only by RETURN.
    "get_step_audit_tree_root: control reached end of function without RETURN",
    # How deep or large a value may be is a matter of the server.
    "get_odd_step_result: routine is marked as STABLE, should be IMMUTABLE",
    "read_event_type: routine is marked as STABLE, should be IMMUTABLE",
    "read_json_event: routine is marked as STABLE, should be IMMUTABLE",
    "read_operator_claims: routine is marked as STABLE, should be IMMUTABLE",
    # What it executes is ALTER TABLE.
    "validate_step_audit_keys: routine is marked as VOLATILE, should be STABLE: attention: cannot "
    "to determine volatility of used dynamic SQL",
    # Hidden casts, once a call.
    f'backfill_step_result_audit: {_CAST} "integer" value to "bigint" type',
]

CHECKED = f"""
SELECT p.oid, p.proname::text AS name, p.prorettype
FROM pg_proc AS p
JOIN pg_language AS l ON p.prolang = l.oid
WHERE p.pronamespace = '{HOST.audit_schema}'::regnamespace AND l.lanname = 'plpgsql'
"""

CHECK = f"""
SELECT p.name || ': ' || concat_ws(': ', c.message, c.detail) AS fault
FROM ({CHECKED}) AS p
CROSS JOIN LATERAL plpgsql_check_function_tb(
    p.oid,
    relid => CASE
        WHEN p.prorettype <> 'trigger'::regtype THEN 0
        WHEN p.name = 'record_deleted_step' THEN '{HOST.steps}'::regclass
        ELSE '{HOST.transitions}'::regclass
    END,
    fatal_errors => FALSE,
    all_warnings => TRUE
) AS c
ORDER BY p.name, c.lineno
"""


@pytest.fixture(scope="module")
def checked(server_folder: Path) -> Iterator[Connection]:
    """A database with step-audit and plpgsql_check."""
    server = EmbeddedServer(server_folder / "plpgsql_check", BINARIES)
    try:
        server.create({"shared_preload_libraries": "'plpgsql,plpgsql_check'"})
        with connect(server.dsn()) as conn:
            conn.execute("CREATE SCHEMA checker")
            conn.execute("CREATE EXTENSION plpgsql_check WITH SCHEMA checker")
            HOST.create(conn)
            install_audit(conn, SOURCES)
            conn.execute(f"SET search_path = {', '.join(HOST.schemas)}, checker".encode())
            yield conn
    finally:
        server.remove()


def faults(conn: Connection) -> list[str]:
    return [row["fault"] for row in conn.execute(CHECK.encode())]


def test_every_plpgsql_function_is_checked(checked: Connection) -> None:
    names = {Path(file.path).stem for file in SOURCES.functions if "LANGUAGE plpgsql" in file.text}
    seen = checked.execute(CHECKED.encode()).fetchall()
    assert {row["name"] for row in seen} == names != set()


def test_functions_have_no_fault_but_the_justified(checked: Connection) -> None:
    assert sorted(faults(checked)) == sorted(JUSTIFIED)


@pytest.mark.parametrize(
    ("stem", "old", "new", "fault"),
    [
        (
            "create_step_result_audit",
            "v_anomaly.reason)",
            "v_anomaly.fault)",
            'record "v_anomaly" has no field "fault"',
        ),
        (
            "uninstall_step_result_audit",
            "BEGIN\n",
            "    v_unused text;\nBEGIN\n",
            'unused variable "v_unused"',
        ),
        (
            "get_step_audit_status",
            "FROM tasker_workflow_step_result_audit;",
            "FROM tasker_workflow_step_result_audits;",
            'relation "tasker_workflow_step_result_audits" does not exist',
        ),
    ],
)
def test_broken_function_is_found(
    checked: Connection, stem: str, old: str, new: str, fault: str
) -> None:
    (text,) = (file.text for file in SOURCES.functions if Path(file.path).stem == stem)
    assert old in text
    with checked.transaction(force_rollback=True):
        checked.execute(text.replace(old, new, 1).encode())
        assert f"{stem}: {fault}" in set(faults(checked)) - set(JUSTIFIED)
