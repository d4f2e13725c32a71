"""``step-audit watch``: it seals, signs and verifies, tells what is out of order, and goes on."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from step_audit.database import Connection
from step_audit.trust.alarms import TO_DO
from step_audit.trust.archive import KeptCheckpoint, find_newest, proof_path
from step_audit.trust.verify import KINDS
from tests.support.command import step_audit
from tests.support.connect import dsn_of
from tests.support.host import HOST
from tests.support.results import record_results
from tests.support.sealed import VERIFIER_KEY
from tests.trust.watching import Watcher, watching, write_key

AUDIT = "tasker_workflow_step_result_audit"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def signing(tmp_path: Path, folder: Path) -> tuple[str, ...]:
    """Options of a watch that signs."""
    return ("--checkpoints", str(folder), "--key", str(write_key(tmp_path)))


@pytest.fixture
def watcher(conn: Connection, signing: tuple[str, ...]) -> Iterator[Watcher]:
    """A watch of a database with some results."""
    record_results(conn, 4)
    with watching(dsn_of(conn), *signing) as watcher:
        watcher.note("checkpoint ")
        yield watcher


def newest(folder: Path) -> KeptCheckpoint:
    found = find_newest(folder, VERIFIER_KEY)
    assert found is not None
    return found


def execute(conn: Connection, statement: str) -> None:
    conn.execute(statement.encode())


def test_what_is_recorded_is_sealed_and_signed_and_each_checkpoint_extends_the_one_before(
    conn: Connection, watcher: Watcher, folder: Path
) -> None:
    first = newest(folder)
    assert first.checkpoint.tree_size == 4
    record_results(conn, 3)
    watcher.note("checkpoint ")
    second = newest(folder)
    assert second.checkpoint.tree_size == 7
    done = step_audit(
        *("consistency", str(first.path), str(second.path), "--public-key", VERIFIER_KEY),
        *("--proof", str(proof_path(second.path))),
    )
    assert (done.code, done.err) == (0, "")
    assert watcher.stop() == 0
    assert not [said for said in watcher.said if "alarm" in said]
