"""Honest dumps, of each major of the server and of each form, have no findings."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg import sql

from step_audit.database import Connection
from step_audit.trust.verify import verify_dump
from step_audit.trust.verify.dump.loading import NEEDED
from step_audit.trust.verify.tables import HOST as HOST_TABLES
from tests.support.command import client
from tests.support.connect import connect, dsn_of
from tests.support.host import HOST, behind_our_back, create_steps
from tests.support.install import install_audit
from tests.trust.circumstances import Workshop
from tests.trust.world import History, seal

SETTINGS = {"DateStyle": "SQL, DMY", "TimeZone": "Africa/Monrovia", "bytea_output": "escape"}
# Monrovia had a zone with seconds up to 1972.
TIMES = (
    "1900-01-01 00:00:00.25+00",
    "1971-05-05 12:00:00+00",
    "0001-01-01 00:20:00+00",
    "0044-03-15 11:00:00+00 BC",
    "12026-01-01 00:00:00+00",
    "infinity",
)


@pytest.mark.parametrize("major", [15, 16, 17, 18])
def test_an_honest_dump_has_no_findings(workshop: Workshop, major: int, tmp_path: Path) -> None:
    with connect(workshop.server(major).dsn()) as conn:
        _fill(conn)
        for on in ("DATABASE", "ROLE"):
            _set(conn, on)
            for form in ("plain", "custom", "directory"):
                folder = tmp_path / f"{on}-{form}"
                folder.mkdir()
                _dump(conn, form, tmp_path / f"{on}-{form}.backup", folder)
                report = verify_dump(folder)
                assert report.findings == (), (on, form)
                assert report.counts.compared == 40
                assert report.counts.leaves == 40
    # What was set has been seen: bytes were not printed in hexadecimal digits, times in a zone.
    salts = (folder / "step_audit_salts").read_bytes()
    assert salts.count(b"\t\\\\x") < 40
    assert b"-00:43:08" in (folder / HOST.relation("tasker_workflow_step_transitions")).read_bytes()


def _fill(conn: Connection) -> None:
    HOST.create(conn)
    conn.execute(
        f"ALTER TABLE {HOST.transitions} ALTER created_at TYPE timestamptz "
        "USING created_at AT TIME ZONE 'UTC'".encode()
    )
    install_audit(conn)
    History(create_steps(conn, 12)).record(conn, 40)
    for number, time in enumerate(TIMES):
        with behind_our_back(conn):
            changed = conn.execute(
                f"UPDATE {HOST.transitions} SET created_at = %s WHERE sort_key = %s".encode(),
                (time, 2 * number + 1_000_001),
            )
        assert changed.rowcount == 1
    assert seal(conn) == 40


def _set(conn: Connection, on: str) -> None:
    name = sql.Identifier(conn.info.dbname if on == "DATABASE" else conn.info.user)
    for setting, value in SETTINGS.items():
        conn.execute(
            sql.SQL("ALTER {} {} SET {} = {}").format(
                sql.SQL(on),
                name,
                sql.Identifier(setting),
                sql.SQL(value) if setting == "DateStyle" else sql.Literal(value),
            )
        )


def _dump(conn: Connection, form: str, backup: Path, folder: Path) -> None:
    if form == "plain":
        _succeed("pg_dump", "-a", "-f", str(folder / "all"), "-d", dsn_of(conn))
        return
    _succeed("pg_dump", f"-F{form[0]}", "-f", str(backup), "-d", dsn_of(conn))
    for name in NEEDED:
        table = HOST.relation(name) if name in HOST_TABLES else name
        _succeed("pg_restore", "-a", "-t", table, "-f", str(folder / table), str(backup))


def _succeed(program: str, *arguments: str) -> None:
    done = client(program, *arguments)
    assert (done.code, done.err) == (0, "")
