"""The purge of what retention no longer asks for, batch by batch, each committed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import partial
from typing import Any

from psycopg.rows import DictRow

from step_audit.database import Connection, call, transaction
from step_audit.patience import until_done

DEFAULT_BATCH_SIZE = 1000


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
        altered: a leaf of each trail that stays as it is not as it was sealed.
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
    altered: tuple[int, ...] = ()
    holders: str | None = None


_COUNTS = tuple(field.name for field in fields(Purged) if field.type == "int")


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

    def purge_batch() -> DictRow:
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
        return batch

    while True:
        batch = yield from until_done(conn, schema, purge_batch, partial(replace, done))
        counts = {name: getattr(done, name) + batch[name] for name in _COUNTS}
        done = Purged(**counts, altered=(*done.altered, *batch["altered_leaves"]))
        yield done
        if batch["next_phase"] is None:
            return
        place = {
            "p_batch_size": min(batch["next_batch_size"], batch_size),
            "p_phase": batch["next_phase"],
            "p_after_recorded_at": batch["next_recorded_at"],
            "p_after_key": batch["next_key"],
        }
