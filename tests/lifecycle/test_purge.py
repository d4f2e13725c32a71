"""What retention no longer asks for goes, if the engine deleted it: a whole trail or nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg

from step_audit.database import Connection, call
from tests.lifecycle.test_changes import engine, run  # noqa: F401 (a fixture)
from tests.support.command import succeed
from tests.support.host import HOST
from tests.support.results import record_results

AUDIT = f"{HOST.audit_schema}.tasker_workflow_step_result_audit"
EVENTS = f"{HOST.audit_schema}.step_audit_events"
CHANGES = f"{HOST.audit_schema}.step_audit_changes"
SALTS = f"{HOST.audit_schema}.step_audit_salts"


def seal(conn: Connection) -> None:
    call(conn, HOST.audit_schema, "seal_step_result_audit")


def now(conn: psycopg.Connection[Any]) -> datetime:
    row = conn.execute("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::timestamp AS t").fetchone()
    assert row is not None
    moment: datetime = row["t"]
    return moment


def count(conn: Connection, table: str, where: str = "TRUE") -> int:
    (row,) = conn.execute(f"SELECT count(*) AS n FROM {table} WHERE {where}".encode()).fetchall()
    number: int = row["n"]
    return number


def test_what_is_held_stays_and_the_rest_goes(conn: Connection) -> None:
    results = record_results(conn, 4)
    run(conn, f"DELETE FROM {HOST.transitions}")
    seal(conn)
    held = results[0].step.task_uuid
    said = succeed("hold", "--task", str(held), "--reason", "litigation 17", to=conn)
    assert said.endswith(f" keeps task {held}: 2 audit rows by now\n")
    purge = ("purge", "--before", now(conn).isoformat(), "--reason", "7 years")
    stays = "2 trails stay: held: step-audit holds\n"
    went = "2 audit rows, 2 changes and 0 events"
    assert succeed(*purge, "--dry-run", to=conn) == (
        f"would purge {went}; nothing was written\n{stays}"
    )
    assert (count(conn, AUDIT), count(conn, EVENTS)) == (4, 1)
    assert succeed(*purge, to=conn) == f"purged {went}\n{stays}"
    assert count(conn, AUDIT, f"task_uuid = '{held}'") == count(conn, AUDIT) == 2
    assert (count(conn, CHANGES), count(conn, SALTS)) == (2, 4)
    (row,) = conn.execute(f"SELECT payload FROM {EVENTS} WHERE kind = 'purged'".encode()).fetchall()
    assert row["payload"]["leaves"] == "{[2,4),[6,8)}"
