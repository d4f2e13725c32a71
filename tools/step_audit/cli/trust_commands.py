"""The command ``seal``.

It imports what it uses, so that ``--help`` starts at once.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

from step_audit.cli.connecting import connected
from step_audit.cli.options import AsJson, Dsn, Quiet, Schema, Verbose
from step_audit.cli.output import report
from step_audit.signals import telling


def seal(
    dsn: Dsn = None,
    schema: Schema = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Put what was recorded since the last seal into the tamper-evident log; no writer waits."""
    from step_audit.database import call, find_schema, transaction

    sealed, complete = 0, False
    with (
        telling(lambda: f"{sealed} records are sealed and stay. Go on with: step-audit seal"),
        connected(dsn) as conn,
    ):
        schema = schema or find_schema(conn)
        while not complete:
            with transaction(conn, writes=True):
                (done,) = call(conn, schema, "seal_step_result_audit")
            sealed, complete = sealed + done["sealed"], done["complete"]
        with transaction(conn):
            (head,) = call(conn, schema, "get_step_audit_tree_head")
    size, root = head["tree_size"], head["root_hash"].hex()
    report(
        {"sealed": sealed, "tree_size": size, "root_hash": root},
        (f"sealed {sealed} records; the log has {size}", f"root {root}"),
        as_json,
        quiet,
    )
