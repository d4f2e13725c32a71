"""What chaos finds where something is broken on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from step_audit.database import Connection
from tests.chaos import audit
from tests.chaos.plan import draw_plan
from tests.chaos.run import run_seed
from tests.support.host import OK, Transition, insert_together


def test_a_worker_whose_results_are_not_audited(server_folder: Path, tmp_path: Path) -> None:
    def prepare(conn: Connection) -> None:
        begin = "    -- What the engine writes is read here"
        leave = "IF current_setting('application_name') = 'writer 2' THEN RETURN NULL; END IF;\n"
        _replace(conn, "create_step_result_audit", begin, leave + begin)

    with pytest.raises(AssertionError, match=r"results and audit rows \{\(1, 0\)\}"):
        run_seed(1, _folder(server_folder, "unaudited"), tmp_path, 1, prepare)


def test_a_trigger_that_hides_that_the_disk_is_full(server_folder: Path, tmp_path: Path) -> None:
    def prepare(conn: Connection) -> None:
        end = "    RETURN NULL;\nEND;\n$function$"
        hide = "    RETURN NULL;\nEXCEPTION WHEN OTHERS THEN RETURN NULL;\nEND;\n$function$"
        _replace(conn, "create_step_result_audit", end, hide)

    seed, rounds = _find("disk full of data")
    with pytest.raises(AssertionError, match=r"results and audit rows \{.*\(1, 0\)"):
        run_seed(seed, _folder(server_folder, "hidden"), tmp_path, rounds, prepare)


def test_a_seal_that_counts_an_open_transaction_as_covered(
    server_folder: Path, tmp_path: Path
) -> None:
    def prepare(conn: Connection) -> None:
        newest = "pg_snapshot_xmax(pg_current_snapshot())::text"
        covered = f"({newest} || ':' || {newest} || ':')::pg_snapshot"
        said = "WHEN o.is_covered THEN pg_current_snapshot()"
        _replace(conn, "seal_step_result_audit", said, f"WHEN o.is_covered THEN {covered}")

    seed, rounds = _find("prepared and forgotten", commits=True)
    with pytest.raises(AssertionError, match="audit rows without a leaf"):
        run_seed(seed, _folder(server_folder, "covered"), tmp_path, rounds, prepare)


def test_commits_that_do_not_wait_for_the_standby(server_folder: Path, tmp_path: Path) -> None:
    def prepare(conn: Connection) -> None:
        conn.execute("ALTER DATABASE postgres SET synchronous_commit = off")

    seed, rounds = _find("standby promoted behind", synchronous=True)
    with pytest.raises(AssertionError, match=r"acknowledged: results and audit rows \{\(0, 0\)\}"):
        run_seed(seed, _folder(server_folder, "asynchronous"), tmp_path, rounds, prepare)


def test_checkpoints_of_what_is_not_committed(
    server_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (step, *_) = draw_plan(1).steps

    def checkpoint(conn: Connection, *_: object) -> tuple[str, bool]:
        with conn.transaction(force_rollback=True):
            insert_together(conn, [Transition(step, OK, "{}", 1_000_000)])
            while not audit.seal(conn):
                pass
            return audit.sign(conn), False

    monkeypatch.setattr(audit, "checkpoint", checkpoint)
    with pytest.raises(AssertionError, match="no longer true, and no failover has lost it"):
        run_seed(1, _folder(server_folder, "uncommitted"), tmp_path, 1)


def test_checkpoints_that_are_said_to_be_on_the_standby(
    server_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = audit.checkpoint

    def checkpoint(conn: Connection, previous: str | None, _: object) -> tuple[str, bool]:
        (note, _) = sign(conn, previous, None)
        return note, True

    monkeypatch.setattr(audit, "checkpoint", checkpoint)
    seed, rounds = _find("standby promoted behind", synchronous=False)
    with pytest.raises(AssertionError, match="no longer true, and no failover has lost it"):
        run_seed(seed, _folder(server_folder, "undurable"), tmp_path, rounds)


def _find(fault: str, synchronous: bool | None = None, commits: bool | None = None) -> Any:
    """The first seed whose first rounds have a fault, and how many these are."""
    for seed in range(1000):
        plan = draw_plan(seed)
        for number, now in enumerate(plan.rounds[:2]):
            if (
                now.fault == fault
                and synchronous in {None, plan.synchronous}
                and commits in {None, now.forgotten.kind == "two-phase"}
            ):
                return seed, number + 1
    raise AssertionError(f"no seed has {fault}")


def _replace(conn: Connection, function: str, old: str, new: str) -> None:
    (row,) = conn.execute(
        "SELECT pg_get_functiondef(to_regproc(%s)) AS definition", (function,)
    ).fetchall()
    assert old in row["definition"]
    conn.execute(row["definition"].replace(old, new).encode())


def _folder(server_folder: Path, name: str) -> Path:
    folder = server_folder / name
    folder.mkdir(mode=0o755)
    return folder
