"""Whatever the types of an engine's columns are, its views are those that the attach makes."""

from __future__ import annotations

import pytest

from step_audit.database import Connection
from step_audit.trust.verify import verify
from tests.support.connect import connect_again
from tests.support.host import HOST, STATES
from tests.support.install import install_audit
from tests.support.results import record_results

STATE_NAMES = ", ".join(f"'{state}'" for state in STATES)


@pytest.mark.parametrize(
    "change",
    [
        *(f"{HOST.named_steps} ALTER name TYPE {kind}" for kind in ("text", "char(80)", "varchar")),
        *(
            f"{HOST.transitions} ALTER {column} TYPE {kind}"
            for column in ("from_state", "to_state")
            for kind in ("text", "varchar(60)", "step_state")
        ),
        *(f"{HOST.transitions} ALTER sort_key TYPE {kind}" for kind in ("smallint", "bigint")),
        f"{HOST.transitions} ALTER metadata TYPE json",
        f"{HOST.transitions} ALTER created_at TYPE timestamptz",
    ],
)
def test_columns_of_any_type_that_will_do(host: Connection, change: str) -> None:
    if change.endswith("step_state"):
        host.execute(f"CREATE TYPE step_state AS ENUM ({STATE_NAMES})".encode())
        change = f"{change} USING {change.split()[2]}::text::step_state"
    for index in _indexes(host):
        host.execute(f"DROP INDEX {index}".encode())
    host.execute(f"ALTER TABLE {change}".encode())
    install_audit(host)
    report = verify(host, HOST.audit_schema)
    assert (report.findings, report.remarks[1:]) == ((), ())


def _indexes(conn: Connection) -> list[str]:
    """Those of the engine with a condition, which goes by the type of its column."""
    rows = conn.execute(
        "SELECT indexrelid::regclass::text AS name FROM pg_index "
        "WHERE indrelid = %s::regclass AND indpred IS NOT NULL",
        (HOST.transitions,),
    )
    return [row["name"] for row in rows.fetchall()]


def test_a_migration_that_locks_what_a_view_shows_is_not_waited_for(conn: Connection) -> None:
    """It may want what is locked by the verification, and then one of the two would fail."""
    record_results(conn, 3)
    with connect_again(conn) as engine, engine.transaction():
        engine.execute(f"LOCK TABLE {HOST.named_steps} IN ACCESS EXCLUSIVE MODE".encode())
        report = verify(conn, HOST.audit_schema)
    assert report.findings == ()
    (remark,) = [each for each in report.remarks if "views" in each]
    assert remark == (
        f"the views of schema {HOST.audit_schema} were not looked at, as what they show is locked "
        "by a migration of the engine: verify again when that has ended"
    )


def test_what_is_locked_to_look_at_views_is_given_back(conn: Connection) -> None:
    """So a migration of other tables of the engine need not wait for the verification."""
    conn.execute("BEGIN")
    verify(conn, HOST.audit_schema)
    with connect_again(conn) as engine, engine.transaction():
        engine.execute("SET lock_timeout = '5s'")
        engine.execute(f"LOCK TABLE {HOST.named_steps} IN ACCESS EXCLUSIVE MODE".encode())
    conn.execute("ROLLBACK")
