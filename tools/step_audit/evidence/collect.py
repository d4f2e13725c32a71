"""Collecting evidence from a database: which records, their proofs, and what is known of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from step_audit.database import Connection, call, transaction
from step_audit.errors import RefusedError, StepAuditError, describe
from step_audit.evidence.archive import Row, proof_name, record_of
from step_audit.evidence.sample import draw_leaves
from step_audit.trust.checkpoint import Checkpoint
from step_audit.trust.proof import verify_proof
from step_audit.trust.sealed_log import check_log, make_proof
from step_audit.trust.tlog_proof import to_tlog_proof


@dataclass(frozen=True, slots=True)
class Log:
    """The log that evidence is of, as a checkpoint has signed it."""

    conn: Connection
    schema: str
    note: str
    verifier_key: str

    def check(self) -> Checkpoint:
        """See that the log is still that of the checkpoint."""
        with transaction(self.conn):
            return check_log(self.conn, self.schema, self.note, self.verifier_key)


@dataclass(slots=True)
class Collected:
    """Records with their proofs, and those that could not be proved."""

    records: list[Row]
    changes: list[Row]
    actions: list[Row]
    missing: list[Row]
    proofs: dict[str, bytes]


def draw_sample(log: Log, seed: Checkpoint, size: int) -> list[Row]:
    """Draw leaves until so many of results are drawn, or all: what the log says of each."""
    if seed.tree_size > log.check().tree_size:
        raise RefusedError(
            "the seed is a checkpoint of a longer log than the other; give both alike."
        )
    drawn: list[Row] = []
    found = 0
    with transaction(log.conn):
        for leaf in draw_leaves(seed):
            (row,) = call(
                log.conn, log.schema, "list_step_audit_log", p_after_leaf=leaf - 1, p_limit=1
            )
            names = ("leaf_index", "kind", "record_uuid", "state")
            drawn.append({name: _plain(row[name]) for name in names})
            found += row["kind"].endswith("result")
            if found == size:
                break
    return drawn


def list_records(log: Log, step: UUID | None, task: UUID | None) -> list[str]:
    """The keys of all results of a step or a task, oldest first."""
    with transaction(log.conn):
        rows = (
            call(log.conn, log.schema, "get_step_audit_history", p_step_uuid=step)
            if step
            else call(log.conn, log.schema, "get_task_audit_history", p_task_uuid=task)
        )
    return [str(row["workflow_step_result_audit_uuid"]) for row in reversed(rows)]


def collect(log: Log, wanted: list[str], leaves: dict[str, int], with_results: bool) -> Collected:
    """Prove each record, and read what was done to it; one that cannot be proved is said."""
    found = Collected([], [], [], [], {})
    steps: dict[str, None] = {}
    for key in wanted:
        try:
            with transaction(log.conn):
                proof = make_proof(
                    log.conn, log.schema, UUID(key), log.note, log.verifier_key, with_results
                )
        except (StepAuditError, psycopg.Error) as error:
            # That is no record's fault.
            if log.conn.closed or isinstance(error, psycopg.errors.InsufficientPrivilege):
                raise
            at = {"leaf_index": leaves[key]} if key in leaves else {}
            found.missing.append({"record": key, "reason": describe(error), **at})
            continue
        record = record_of(verify_proof(proof, log.verifier_key))
        (audit,) = _rows(log, "list_step_audits", p_audit_uuid=key)
        shown = {name: audit[name] for name in ("step_name", "changes", "deleted")}
        found.records.append(record | shown)
        found.proofs[proof_name(key)] = to_tlog_proof(proof).encode()
        transition = audit["workflow_step_transition_uuid"]
        for change in _rows(log, "list_step_audit_changes", p_transition_uuid=transition):
            found.changes.append(change if with_results else change | {"result": None})
        steps[audit["workflow_step_uuid"]] = None
    for step in steps:
        found.actions += _rows(log, "list_operator_actions", p_step_uuid=step)
    return found


def _rows(log: Log, function: Any, **arguments: object) -> Iterator[Row]:
    with transaction(log.conn):
        rows = call(log.conn, log.schema, function, **arguments, p_limit=None)
    return iter([{name: _plain(value) for name, value in row.items()} for row in rows])


def _plain(value: object) -> object:
    """The value as JSON has it; JSON that a worker wrote stays text, to its last digit."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds") + "Z"
    return str(value) if isinstance(value, UUID) else json.loads(json.dumps(value))
