"""Sealing and verifying: records a second."""

from __future__ import annotations

from benchmarks import events
from benchmarks.bench import Bench
from benchmarks.contestants import OURS
from benchmarks.measure import Measurement, timed
from step_audit.database import Connection
from step_audit.trust.verify import verify

SEAL, VERIFY = "seal", "verify"
LEAF = "bytes per sealed record, log and its indexes"

_NEEDED = ("seal_step_result_audit", "commit_step_audit_payload")


def measure(bench: Bench) -> list[Measurement]:
    """Measure with results of 1 KB, in turns of equal size."""
    part = bench.scale.trust
    rounds = 5
    rates: dict[str, list[float]] = {SEAL: [], VERIFY: []}
    with bench.targets(OURS) as targets:
        target = targets[OURS]
        conn = target.conn
        if not _has_functions(conn):
            bench.note("Sealing and verifying are left out: this version does not have them.")
            return []
        together = min(1000, target.steps)
        before = _run_seal(conn)
        for number in range(rounds):
            for _ in range(part // together):
                target.write_together(events.name("text", "1 KB"), events.RESULT, together)
            conn.execute("VACUUM ANALYZE")
            rates[SEAL].append(part / _run(conn, f"SELECT * FROM seal_step_result_audit({part})"))
            records = before + (number + 1) * part
            rates[VERIFY].append(records / timed(lambda: _verify(conn)))
        sizes = conn.execute(
            "SELECT sum(pg_total_relation_size(c.oid)) AS bytes FROM pg_class AS c "
            "WHERE c.relkind = 'r' AND c.relname IN "
            "('step_audit_leaves', 'step_audit_subtrees', 'step_audit_seals')"
        ).fetchall()
    records = before + part * rounds
    return [
        Measurement(name, "records per second", {OURS: values}) for name, values in rates.items()
    ] + [
        Measurement(LEAF, "bytes", {OURS: [float(sizes[0]["bytes"] or 0) / records]}),
    ]


def _has_functions(conn: Connection) -> bool:
    found = conn.execute(
        "SELECT count(DISTINCT proname) AS functions FROM pg_proc WHERE proname = ANY(%s)",
        (list(_NEEDED),),
    ).fetchall()
    return bool(found[0]["functions"] == len(_NEEDED))


def _run_seal(conn: Connection) -> int:
    """Seal what is there; gives the size of the log."""
    (sealed,) = conn.execute("SELECT tree_size FROM seal_step_result_audit()").fetchall()
    return int(sealed["tree_size"])


def _run(conn: Connection, statement: str) -> float:
    return timed(lambda: conn.execute(statement.encode()).fetchall())


def _verify(conn: Connection) -> None:
    report = verify(conn)
    assert not report.findings, report.findings[:3]
