"""The text of a seal that a checkpoint signs: of the documentation, of the database, of Python."""

from __future__ import annotations

import json
import re
from pathlib import Path

from psycopg import sql

from step_audit.database import Connection, call
from step_audit.trust.encoding import decode_base64
from step_audit.trust.seal import hash_seal
from step_audit.trust.verify.copying import copy_rows
from step_audit.trust.verify.seals import Seal
from tests.support.host import HOST
from tests.support.results import record_results
from tests.trust.world import seal

PAGE = Path(__file__).parents[2] / "docs" / "sealing.md"


def test_the_example_of_the_documentation_is_true() -> None:
    page = PAGE.read_text(encoding="utf-8")
    (line,) = re.findall(r"^step-audit seal (\S+)$", page, re.MULTILINE)
    (text,) = re.findall(r'^(\["step-audit seal 1".*?\])\n```', page, re.MULTILINE | re.DOTALL)
    assert hash_seal(text.replace("\n", " ")) == decode_base64(line)


def test_database_and_python_write_the_same_whatever_the_settings(conn: Connection) -> None:
    record_results(conn, 9)
    seal(conn)
    with conn.transaction(force_rollback=True):
        conn.execute("SET LOCAL session_replication_role = replica")
        conn.execute("ALTER TABLE step_audit_seals DISABLE TRIGGER USER")
        conn.execute(
            "INSERT INTO step_audit_seals VALUES "
            "(10, '2026-11-22 10:00:00.120', '735:741:737,739', E'odd \"place\\\\\\n\u00e9', "
            "ARRAY[gen_random_uuid(), gen_random_uuid()]), (11, 'infinity', NULL, NULL, '{}')"
        )
        conn.execute("SET LOCAL datestyle = ISO")
        rows = list(
            copy_rows(
                conn,
                sql.SQL(
                    "SELECT tree_size, sealed_at, covered, place, waiting FROM step_audit_seals"
                ),
            )
        )
        assert len(rows) == 3
        conn.execute("SET LOCAL datestyle = German; SET LOCAL timezone = 'Asia/Kathmandu'")
        for row in rows:
            each = Seal.from_row(row)
            (found,) = call(
                conn, HOST.audit_schema, "get_step_audit_seal", p_tree_size=each.tree_size
            )
            assert found["get_step_audit_seal"] == each.text
            assert len(json.loads(each.text)) == 6
