"""The online backfill, batch by batch, each committed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

from psycopg.rows import DictRow

from step_audit.database import Connection, call, transaction
from step_audit.patience import until_done

DEFAULT_BATCH_SIZE = 5000

# Results that are passed over, which are named.
NAMED = 10


@dataclass(frozen=True)
class Progress:
    """How far a backfill is.

    Attributes:
        written: audit rows so far.
        passed_over: results so far whose step or task is gone, so that no row can name them.
        named: the first transitions of those.
        holders: who may hold the lock that the batch has been waiting for; None if it does not
            wait, or not for long.
    """

    written: int = 0
    passed_over: int = 0
    named: tuple[UUID, ...] = ()
    holders: str | None = None


def run_backfill(
    conn: Connection, schema: str, batch_size: int = DEFAULT_BATCH_SIZE, pause: float = 0
) -> Iterator[Progress]:
    """Audit what the trigger has not; yields how far it is, after each batch.

    A batch that meets a lock or a deadlock is tried again, for as long as it takes.

    Args:
        conn: in autocommit, so that each batch is a transaction of its own.
        schema: where step-audit is installed.
        batch_size: transitions to look at per batch, of whatever state.
        pause: seconds to wait between batches.
    """
    last: UUID | None = None
    done = Progress()

    def audit_batch() -> DictRow:
        with transaction(conn, as_owner_of=schema, writes=True):
            (batch,) = call(
                conn,
                schema,
                "backfill_step_result_audit_batch",
                p_after=last,
                p_batch_size=batch_size,
            )
        return batch

    while True:
        batch = yield from until_done(conn, schema, audit_batch, partial(replace, done), schema)
        passed_over = batch["passed_over"] or []
        done = Progress(
            done.written + batch["written"],
            done.passed_over + len(passed_over),
            (*done.named, *passed_over)[:NAMED],
        )
        yield done
        last = batch["last_transition_uuid"]
        if last is None:
            return
        time.sleep(pause)
