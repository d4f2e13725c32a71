"""The purge of what retention no longer asks for, batch by batch, each committed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

import psycopg

from step_audit.database import Connection, call, transaction

DEFAULT_BATCH_SIZE = 1000

_RETRY_PAUSE = 0.1

# Seconds of waiting after which it is said for whom.
_PATIENCE = 5.0


@dataclass(frozen=True)
class Purged:
    """How far a purge is.

    Attributes:
        records: audit rows that went so far.
        changes: changes that went with them, or alone.
        events: events that did.
        kept_by_engine: trails that stay as the engine's transition stands.
        kept_by_hold: trails that stay as they are held.
        kept_unsealed: trails that stay as something of them is not sealed.
        kept_younger: trails that stay as something of them is younger.
        holders: the transactions that the batch has been waiting for; None if it does not wait, or
            not for long.
    """

    records: int = 0
    changes: int = 0
    events: int = 0
    kept_by_engine: int = 0
    kept_by_hold: int = 0
    kept_unsealed: int = 0
    kept_younger: int = 0
    holders: str | None = None


_COUNTS = tuple(field.name for field in fields(Purged) if field.name != "holders")


def run_purge(
    conn: Connection,
    schema: str,
    before: datetime,
    reason: str,
    operator: str | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    dry_run: bool = False,
) -> Iterator[Purged]:
    """Purge the trails of before a time that may go; yields how far it is, after each batch.

    A batch that meets a lock, or a transaction that could bring a transition back, is tried again,
    for as long as it takes.

    Args:
        conn: in autocommit, so that each batch is a transaction of its own.
        schema: where step-audit is installed.
        before: UTC, without a zone.
        reason: why; it stays in the log.
        operator: who decided so.
        batch_size: trails to look at per batch, at most.
        dry_run: whether to count only.
    """
    place: dict[str, Any] = {"p_batch_size": batch_size}
    done = Purged()
    told = time.monotonic()
    while True:
        try:
            with transaction(conn, writes=not dry_run):
                (batch,) = call(
                    conn,
                    schema,
                    "purge_step_result_audit_batch",
                    p_before=before,
                    p_reason=reason,
                    p_operator=operator,
                    p_dry_run=dry_run,
                    **place,
                )
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            # It was interrupted in the same moment, and psycopg waited for the statement's end.
            if isinstance(error.__context__, KeyboardInterrupt | SystemExit):
                raise error.__context__ from error
            if time.monotonic() - told >= _PATIENCE:
                yield replace(done, holders=_name_holders(conn, schema))
                told = time.monotonic()
            time.sleep(_RETRY_PAUSE)
            continue
        done = Purged(**{name: getattr(done, name) + batch[name] for name in _COUNTS})
        yield done
        if batch["next_phase"] is None:
            return
        place = {
            "p_batch_size": min(batch["next_batch_size"], batch_size),
            "p_phase": batch["next_phase"],
            "p_after_recorded_at": batch["next_recorded_at"],
            "p_after_key": batch["next_key"],
        }
        told = time.monotonic()


def _name_holders(conn: Connection, schema: str) -> str:
    with transaction(conn):
        rows = call(conn, schema, "list_lock_holders")
    return "; ".join(row["holder"] for row in rows) or "a session that has ended"
