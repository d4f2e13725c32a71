"""What chaos asks of step-audit, and what it knows of its tables: all of that is here."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from step_audit.database import Connection, call
from step_audit.trust.archive import KeptCheckpoint
from step_audit.trust.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from step_audit.trust.note import SignerKey, generate_key
from step_audit.trust.server import Durability
from step_audit.trust.signing import make_checkpoint
from step_audit.trust.verify import open_signed
from step_audit.trust.verify import verify as verify_all
from tests.support.host import FAILED, HOST, OK

# What verify says of a checkpoint whose records a failover has lost.
LOST = "lost by failover"

KEY: SignerKey = generate_key("example.com/chaos")


def seal(conn: Connection) -> bool:
    """Seal once; gives whether all that is committed is sealed."""
    (done,) = call(conn, HOST.audit_schema, "seal_step_result_audit", p_limit=2000)
    return bool(done["complete"])


def hold_seals(conn: Connection) -> None:
    """Let seals wait for this transaction."""
    conn.execute("LOCK TABLE step_audit_seals IN ROW EXCLUSIVE MODE")


def checkpoint(
    conn: Connection, previous: str | None, standby_seconds: float | None
) -> tuple[str, bool]:
    """Sign what is sealed, where it extends a checkpoint; gives the note, and if a standby has it.

    Raises:
        NotProvedError: it does not extend the previous one.
        RefusedError: a standby has not flushed it in so many seconds.
    """
    kept = previous and KeptCheckpoint(Path("previous"), previous, read_checkpoint(previous))
    signed = make_checkpoint(conn, HOST.audit_schema, KEY.to_text(), kept or None, standby_seconds)
    return signed.note, signed.durability is Durability.FLUSHED


def sign(conn: Connection) -> str:
    """Sign the log as a transaction sees it, as nobody should: it may be rolled back."""
    (head,) = call(conn, HOST.audit_schema, "get_step_audit_tree_head")
    return sign_checkpoint(Checkpoint(KEY.name, **head), KEY.to_text())


def read_checkpoint(note: str) -> Checkpoint:
    """What was signed."""
    return open_checkpoint(note, KEY.verifier.to_text())


def verify(conn: Connection, note: str | None) -> dict[str, str]:
    """Verify all, and against a checkpoint; gives the findings, as for people, and their kinds."""
    signed = None if note is None else open_signed(note, None, KEY.verifier.to_text())
    report = verify_all(conn, HOST.audit_schema, signed=signed)
    return {str(each): each.finding for each in report.findings}


def count_results(conn: Connection) -> dict[UUID, tuple[int, int]]:
    """How many results and how many audit rows each transition has, in one snapshot."""
    return {row["key"]: (row["results"], row["audits"]) for row in conn.execute(_COUNT).fetchall()}


def list_leaf_hashes(conn: Connection) -> list[bytes]:
    """The leaves of the log, in order; none is left out."""
    rows = conn.execute(
        "SELECT leaf_index, leaf_hash FROM step_audit_leaves ORDER BY leaf_index"
    ).fetchall()
    assert [row["leaf_index"] for row in rows] == list(range(len(rows)))
    return [bytes(row["leaf_hash"]) for row in rows]


def count_unsealed(conn: Connection) -> int:
    """Audit rows that have no leaf, and leaves that have no audit row."""
    (row,) = conn.execute(_UNSEALED).fetchall()
    return int(row["unsealed"])


_COUNT = f"""
SELECT key, sum(result)::integer AS results, sum(audit)::integer AS audits
FROM (
    SELECT workflow_step_transition_uuid AS key, 1 AS result, 0 AS audit
    FROM {HOST.transitions}
    WHERE to_state::text IN ('{OK}', '{FAILED}')
    UNION ALL
    SELECT workflow_step_transition_uuid, 0, 1
    FROM tasker_workflow_step_result_audit
) AS found
GROUP BY key
""".encode()

_UNSEALED = """
SELECT count(*) AS unsealed
FROM tasker_workflow_step_result_audit AS a
FULL JOIN step_audit_leaves AS l ON a.workflow_step_result_audit_uuid = l.record_uuid
WHERE a.recorded_at IS NULL OR l.leaf_index IS NULL
"""
