"""What step-audit wrote down when it was attached: what was chosen then, and no more."""

from __future__ import annotations

from contextlib import closing

from step_audit.database import Connection
from step_audit.trust.verify.queries import columns_of
from step_audit.trust.verify.tables import OBJECTS, Place


def read_ledger(conn: Connection, place: Place) -> dict[str, str]:
    """What was written down of the objects when step-audit was attached."""
    with closing(columns_of(conn, place, OBJECTS, "object_name", "definition")) as rows:
        return {(name or b"").decode(): (text or b"").decode() for name, text in rows}
