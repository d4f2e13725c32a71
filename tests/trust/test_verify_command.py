"""``seal``, ``verify``, ``checkpoint``, ``prove`` and ``verify-proof`` as a user runs them."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from step_audit.database import Connection
from step_audit.setup.sources import load_sources
from step_audit.trust.signing import make_checkpoint
from step_audit.trust.verify import Report, open_signed, verify
from tests.support.command import Done, step_audit, succeed
from tests.support.connect import connect_again
from tests.support.host import HOST, OK, Transition, create_steps, insert_each
from tests.support.results import record_results
from tests.support.sealed import SIGNER_KEY, VERIFIER_KEY
from tests.trust.attacks import AUDIT, LEAVES, SEALS, TRANSITIONS, unguarded
from tests.trust.world import Meeting, seal


@dataclass
class Kept:
    """A database, and what its keeper has outside of it."""

    conn: Connection
    folder: Path
    public_key: str

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def checkpoint(self, name: str) -> str:
        """Seal, and sign a checkpoint into a file of this name."""
        succeed("seal", to=self.conn)
        succeed(
            "checkpoint",
            "--key",
            self.path("key"),
            "--out",
            self.path(name),
            "--first",
            to=self.conn,
        )
        return self.path(name)

    def verify(self, *options: str, checkpoint: str = "checkpoint") -> Done:
        signed = ("--checkpoint", self.path(checkpoint), "--public-key", self.public_key)
        return step_audit("verify", *signed, *options, to=self.conn)

    def keys(self) -> list[str]:
        """The audit rows in the order of the log."""
        rows = self.conn.execute(
            f"SELECT record_uuid::text AS key FROM {LEAVES} ORDER BY leaf_index"
        )
        return [row["key"] for row in rows]

    def alter(self, statement: str, *arguments: object) -> None:
        with self.conn.transaction(), unguarded(self.conn):
            assert self.conn.execute(statement.encode(), arguments).rowcount

    def alter_payload(self, key: str) -> None:
        """Edit a part of the result that no column of the audit row is read from."""
        self.alter(
            f"UPDATE {TRANSITIONS} AS t SET metadata = metadata || '{{\"note\": 1}}' FROM {AUDIT} "
            "AS a WHERE a.workflow_step_transition_uuid = t.workflow_step_transition_uuid "
            "AND a.workflow_step_result_audit_uuid = %s",
            key,
        )


@pytest.fixture
def kept(conn: Connection, tmp_path: Path) -> Kept:
    """Nine results below an older checkpoint, and four more below a newer one."""
    done = step_audit("keygen", "example.com/audit", "--out", str(tmp_path / "key"))
    made = Kept(conn, tmp_path, done.out.strip())
    record_results(conn, 9)
    made.checkpoint("older")
    record_results(conn, 4)
    made.checkpoint("checkpoint")
    return made


def findings(done: Done) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.out)["findings"]
    return found


def test_a_clean_database_is_said_to_be_clean(kept: Kept) -> None:
    done = kept.verify()
    assert (done.code, done.err) == (0, "")
    *told, last = done.out.splitlines()
    assert last == "findings: 0"
    assert told[0].startswith(f"database {kept.conn.info.dbname}, schema {HOST.audit_schema}, ")
    assert "results 13, audit rows 13, compared 13" in told
    assert (
        "sealed 13, computed anew 13, not sealed 0, waiting 0, anomalies 0, changes 0, events 0"
        in told
    )
    assert "checkpoint of example.com/audit, 13 leaves" in told
    assert not [line for line in told if line.startswith("not looked at")]


def test_as_json_it_says_where_by_whom_and_what(kept: Kept) -> None:
    told = json.loads(kept.verify("--json").out)
    assert told["findings"] == told["not_looked_at"] == []
    assert told["checkpoint_size"] == 13
    assert told["from_checkpoint_size"] is None
    source, counts = told["source"], told["counts"]
    assert source["release"] == load_sources().release
    assert (
        source["engine_tables"]
        == f"{HOST.schema}.{HOST.relation('tasker_workflow_step_transitions')}"
    )
    assert source["system_identifier"].isdecimal()
    assert int(source["timeline"]) == 1
    assert source["role"] == kept.conn.info.user
    assert (counts["results"], counts["audit_rows"], counts["compared"]) == (13, 13, 13)
    assert (counts["sealed"], counts["leaves"], counts["unsealed"]) == (13, 13, 0)
    assert counts["objects"] > 100


def test_without_a_checkpoint_it_says_what_was_not_looked_at(kept: Kept) -> None:
    done = step_audit("verify", to=kept.conn)
    assert (done.code, done.err) == (0, "")
    *_, said, last = done.out.splitlines()
    assert said.startswith("not looked at: whether the log was written anew as a whole: give --ch")
    assert last == "findings: 0"


def test_what_came_after_the_checkpoint_is_counted(kept: Kept) -> None:
    done = kept.verify(checkpoint="older")
    assert done.code == 0
    assert (
        "not looked at: whether 4 leaves were written anew: they came after the checkpoint, and "
        "nothing outside the database vouches for them yet"
    ) in done.out.splitlines()


def test_a_checkpoint_of_nothing_tells_nothing(conn: Connection, tmp_path: Path) -> None:
    note = make_checkpoint(conn, HOST.audit_schema, SIGNER_KEY).note
    record_results(conn, 3)
    seal(conn)
    (tmp_path / "empty").write_text(note)
    done = step_audit(
        *("verify", "--checkpoint", str(tmp_path / "empty"), "--public-key", VERIFIER_KEY), to=conn
    )
    assert done.code == 0
    assert (
        "not looked at: whether the log was written anew as a whole: the checkpoint is of an empty "
        "log"
    ) in done.out.splitlines()


def test_without_a_checkpoint_an_altered_record_is_found(kept: Kept) -> None:
    key = kept.keys()[0]
    kept.alter_payload(key)
    done = step_audit("verify", to=kept.conn)
    assert done.code == 1
    assert done.out.startswith(f"altered record: audit {key}: leaf 0: is ")


def test_seal_says_how_much_and_the_root(conn: Connection) -> None:
    record_results(conn, 3)
    first = succeed("seal", to=conn).splitlines()
    assert first[0] == "sealed 3 records; the log has 3"
    second = succeed("seal", to=conn).splitlines()
    assert second == ["sealed 0 records; the log has 3", first[1]]
    assert first[1].startswith("root ")
    assert len(first[1]) == 5 + 64


def test_a_finding_is_printed_named_and_exits_with_1(kept: Kept) -> None:
    key = kept.keys()[3]
    kept.alter(
        f"UPDATE {AUDIT} SET success = NOT success WHERE workflow_step_result_audit_uuid = %s", key
    )
    done = kept.verify()
    assert (done.code, done.err) == (1, "")
    altered, mismatch, *_, last = done.out.splitlines()
    assert mismatch.startswith(f"mismatch: audit {key}: transition ")
    assert ": success: is " in mismatch
    assert altered.startswith(f"altered record: audit {key}: leaf 3: is ")
    assert last == "findings: 2"
    in_json = findings(kept.verify("--json"))
    assert [each["finding"] for each in in_json] == ["altered record", "mismatch"]
    assert {each["workflow_step_result_audit_uuid"] for each in in_json} == {key}
    assert {in_json[1]["stored"], in_json[1]["expected"]} == {"true", "false"}
    assert set(in_json[0]) == {
        "finding",
        "workflow_step_transition_uuid",
        "workflow_step_result_audit_uuid",
        "field",
        "stored",
        "expected",
    }


def record_unaudited(conn: Connection, number: int) -> str:
    (step,) = create_steps(conn)
    forged = Transition(step, OK, "{}", number)
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        insert_each(conn, [forged])
    return str(forged.transition_uuid)


def test_repair_audits_what_is_missing_and_then_is_clean(kept: Kept) -> None:
    missing = record_unaudited(kept.conn, 1)
    done = kept.verify("--json")
    assert done.code == 1
    (found,) = findings(done)
    assert (found["finding"], found["workflow_step_transition_uuid"]) == ("missing", missing)
    repaired = kept.verify("--repair", "--json")
    assert repaired.code == 0
    assert json.loads(repaired.out)["counts"]["audit_rows"] == 14
    assert kept.verify().code == 0


def test_repair_repairs_nothing_that_was_altered(kept: Kept) -> None:
    record_unaudited(kept.conn, 1)
    kept.alter_payload(kept.keys()[0])
    done = kept.verify("--repair")
    assert done.code == 1
    assert f"altered record: audit {kept.keys()[0]}" in done.out
    assert done.out.endswith("findings: 1\n")


def test_since_and_until_bound_what_is_compared(kept: Kept) -> None:
    transition = record_unaudited(kept.conn, 1)
    kept.conn.execute(
        f"UPDATE {TRANSITIONS} SET created_at = '2020-06-15 12:00:00' "
        "WHERE workflow_step_transition_uuid = %s",
        (transition,),
    )
    for bounds, code in {
        (): 1,
        ("--since", "2020-06-15T12:00:00"): 1,
        ("--since", "2020-06-15T12:00:01"): 0,
        ("--until", "2020-06-15T12:00:00"): 0,
        ("--until", "2020-06-15 12:00:01"): 1,
        ("--since", "2020-06-15", "--until", "2020-06-16"): 1,
        ("--since", "2020-06-16"): 0,
    }.items():
        assert step_audit("verify", *bounds, to=kept.conn).code == code, bounds


def test_with_an_older_checkpoint_only_what_came_since_is_looked_at(kept: Kept) -> None:
    older = ("--from-checkpoint", kept.path("older"))
    assert kept.verify(*older).code == 0
    keys = kept.keys()
    kept.alter_payload(keys[8])
    assert kept.verify(*older).code == 0
    assert kept.verify().code == 1
    kept.alter_payload(keys[9])
    done = kept.verify(*older, "--json")
    assert done.code == 1
    assert [each["workflow_step_result_audit_uuid"] for each in findings(done)] == [keys[9]]


def test_an_older_checkpoint_must_be_older(kept: Kept) -> None:
    done = kept.verify("--from-checkpoint", kept.path("checkpoint"), checkpoint="older")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "step-audit: the checkpoint to go on from is newer than the one to verify, 13 records "
        "against 9; nothing was verified. Swap the two, or leave out --from-checkpoint.\n"
    )
    # The other way round it is verified, and one may go on from the very checkpoint.
    assert kept.verify("--from-checkpoint", kept.path("older")).code == 0
    assert kept.verify("--from-checkpoint", kept.path("checkpoint")).code == 0


def test_a_log_that_lost_its_newest_records_is_truncated(kept: Kept) -> None:
    with kept.conn.transaction(), unguarded(kept.conn):
        for table, column in ((LEAVES, "leaf_index"), (SEALS, "tree_size - 1")):
            kept.conn.execute(f"DELETE FROM {table} WHERE {column} >= 9".encode())
    assert kept.verify(checkpoint="older").code == 0
    done = kept.verify()
    assert done.code == 1
    first, *_ = done.out.splitlines()
    assert first.startswith("truncated log: is 9 leaves, should be 13 leaves, root ")


def test_another_key_is_not_believed(kept: Kept) -> None:
    other = step_audit("keygen", "example.com/audit", "--out", kept.path("other")).out.strip()
    assert kept.verify("--public-key", other).code == 1
    done = step_audit(
        "verify", "--checkpoint", kept.path("checkpoint"), "--public-key", other, to=kept.conn
    )
    assert (done.code, done.out) == (1, "")
    assert "the note is not signed by example.com/audit+" in done.err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--checkpoint", "absent", "--public-key", "KEY"), 3, "absent: No such file"),
        (("--checkpoint", "key", "--public-key", "KEY"), 3, "this is no signed note"),
        (("--checkpoint", "checkpoint", "--public-key", "x"), 3, "this is no public key"),
        (("--checkpoint", "checkpoint"), 2, "--checkpoint and --public-key go together"),
        (("--public-key", "KEY"), 2, "--checkpoint and --public-key go together, and --checkpoint"),
        (
            ("--from-checkpoint", "checkpoint", "--checkpoint", "checkpoint"),
            2,
            "--public-key is not",
        ),
        (("--dump", "key"), 2, "key is no folder; nothing was verified. Name a folder with a file"),
        (("--checkpoint", ".", "--public-key", "KEY"), 2, ". is a folder, and not a file; nothing"),
        (("--since", "yesterday"), 2, "yesterday"),
    ],
)
def test_what_cannot_be_checked_is_said(
    kept: Kept, options: tuple[str, ...], code: int, said: str
) -> None:
    files = {"absent", "key", "checkpoint"}
    options = tuple(
        kept.path(each) if each in files else each.replace("KEY", kept.public_key)
        for each in options
    )
    done = step_audit("verify", *options, to=None if "--dump" in options else kept.conn)
    assert (done.code, done.out) == (code, "")
    assert said in done.err


def test_where_nothing_is_installed_it_says_so(host: Connection) -> None:
    for command in ("verify", "seal"):
        done = step_audit(command, to=host)
        assert (done.code, done.out) == (3, "")
        assert "step-audit is not installed in database" in done.err


def test_another_release_is_refused(kept: Kept) -> None:
    kept.conn.execute("UPDATE step_audit_files SET release = '99.0.0'")
    done = kept.verify()
    assert (done.code, done.out) == (3, "")
    release = load_sources().release
    assert f"the database has step-audit '99.0.0', this command is {release}" in done.err


def test_a_record_is_proved_and_the_proof_verified_elsewhere(kept: Kept) -> None:
    key = kept.keys()[5]
    signed = ("--checkpoint", kept.path("checkpoint"), "--public-key", kept.public_key)
    succeed("prove", key, *signed, "--out", kept.path("proof"), to=kept.conn)
    told = json.loads(
        succeed("verify-proof", kept.path("proof"), "--public-key", kept.public_key, "--json")
    )
    assert key in json.dumps(told)

    proof = json.loads(Path(kept.path("proof")).read_text())
    proof["record"]["audit"]["success"] = not proof["record"]["audit"]["success"]
    Path(kept.path("forged")).write_text(json.dumps(proof))
    done = step_audit("verify-proof", kept.path("forged"), "--public-key", kept.public_key)
    assert (done.code, done.out) == (1, "")
    assert "the proof is false" in done.err


def test_what_was_altered_or_sealed_later_is_not_proved(kept: Kept) -> None:
    keys = kept.keys()
    newer = ("--checkpoint", kept.path("checkpoint"), "--public-key", kept.public_key)
    older = ("--checkpoint", kept.path("older"), "--public-key", kept.public_key)
    done = step_audit("prove", keys[12], *older, to=kept.conn)
    assert (done.code, done.out) == (3, "")
    assert "is not among the 9 records of the checkpoint" in done.err
    kept.alter_payload(keys[12])
    done = step_audit("prove", keys[12], *newer, to=kept.conn)
    assert (done.code, done.out) == (1, "")
    kept.alter(f"UPDATE {LEAVES} SET leaf_hash = sha256('x') WHERE leaf_index = 0")
    done = step_audit("prove", keys[5], *newer, to=kept.conn)
    assert (done.code, done.out) == (3, "")
    assert "is not the one of the checkpoint" in done.err


def test_writers_and_seals_beside_verify_are_no_findings(kept: Kept) -> None:
    steps = create_steps(kept.conn, 3)
    start = Meeting(4)
    verified = Event()

    def write(writer: int) -> int:
        """Write, with some rollbacks, until all is verified; gives how many results are kept."""
        numbers = itertools.count()
        written = 0
        with connect_again(kept.conn) as mine:
            start.wait()
            while written < 20 or not verified.is_set():
                number = next(numbers)
                is_lost = number % 7 == 6
                with mine.transaction(force_rollback=is_lost):
                    insert_each(mine, [Transition(steps[writer], OK, "{}", number)])
                written += not is_lost
                if writer == 0 and number % 10 == 0:
                    mine.execute("SELECT seal_step_result_audit()")
        return written

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, number) for number in range(3)]
        try:
            start.wait()
            reports = [
                verify(kept.conn, HOST.audit_schema),
                *(_verify_signed(kept) for _ in range(5)),
            ]
        finally:
            verified.set()
        written = sum(each.result() for each in writers)
    reports.append(_verify_signed(kept))
    assert [report.findings for report in reports] == [()] * 7
    assert reports[-1].results == 13 + written


def _verify_signed(kept: Kept) -> Report:
    note = Path(kept.path("checkpoint")).read_text()
    return verify(kept.conn, HOST.audit_schema, signed=open_signed(note, None, kept.public_key))
