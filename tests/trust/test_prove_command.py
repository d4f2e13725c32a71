"""prove and verify-proof of one record and of many, in both forms."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from step_audit.database import Connection, call
from step_audit.trust.proof import verify_proof as check
from step_audit.trust.tlog_proof import from_tlog_proof
from tests.support.command import Done, run, step_audit, succeed
from tests.support.host import HOST, Transition, create_steps, insert_each
from tests.support.keys import write_key
from tests.support.results import record_results
from tests.support.sealed import SIGNER, VERIFIER_KEY, make_proof
from tests.trust.attacks import AUDIT, unguarded
from tests.trust.world import seal

UNKNOWN = str(uuid.UUID(int=62))


@dataclass
class Prover:
    """A sealed log, its checkpoint, and what was sealed, in the order of its recording."""

    conn: Connection
    tmp: Path
    results: list[Transition]
    audits: list[str]

    def prove(self, *arguments: str) -> Done:
        signed = ("--checkpoint", str(self.tmp / "signed"), "--public-key", VERIFIER_KEY)
        return run("prove", *arguments, *signed, to=self.conn)

    def listed(self, *lines: str) -> str:
        (self.tmp / "list").write_text("\n".join(lines) + "\n")
        return str(self.tmp / "list")

    @property
    def folder(self) -> Path:
        return self.tmp / "proofs"


@pytest.fixture
def prover(conn: Connection, tmp_path: Path) -> Prover:
    results = record_results(conn, 4)
    seal(conn)
    key = write_key(tmp_path / "key", SIGNER)
    succeed("checkpoint", "--key", key, "--out", str(tmp_path / "signed"), "--first", to=conn)
    audit_of = {
        row["transition"]: row["audit"]
        for row in conn.execute(
            "SELECT workflow_step_transition_uuid AS transition, "
            f"workflow_step_result_audit_uuid::text AS audit FROM {AUDIT}".encode()
        )
    }
    audits = [audit_of[result.transition_uuid] for result in results]
    return Prover(conn, tmp_path, results, audits)


def proved_audit(text: str) -> object:
    return check(text, VERIFIER_KEY).leaf.audit["workflow_step_result_audit_uuid"]


# The forms.


def test_a_proof_is_json_unless_asked(prover: Prover) -> None:
    done = prover.prove(prover.audits[0])
    assert (done.code, done.err) == (0, "")
    assert proved_audit(done.out) == prover.audits[0]
    assert prover.prove(prover.audits[0], "--format", "json") == done


@pytest.mark.parametrize("options", [(), ("--without-result",)])
def test_a_proof_in_c2sp_form_is_the_same(prover: Prover, options: tuple[str, ...]) -> None:
    done = prover.prove(prover.audits[1], "--format", "tlog-proof", *options)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("c2sp.org/tlog-proof@v1\nextra ")
    assert from_tlog_proof(done.out) == prover.prove(prover.audits[1], *options).out
    file = prover.tmp / "one.tlog-proof"
    assert prover.prove(
        prover.audits[1], "--format", "tlog-proof", "--out", str(file), *options
    ) == Done(0, "", "")
    assert file.read_text() == done.out
    printed = succeed("verify-proof", str(file), "--public-key", VERIFIER_KEY)
    assert f"audit row             {prover.audits[1]}\n" in printed


# Several.


@pytest.mark.parametrize("form", ["json", "tlog-proof"])
def test_each_record_of_a_task_is_proved(prover: Prover, form: str) -> None:
    task = prover.results[0].step.task_uuid
    mine = {
        audit
        for audit, result in zip(prover.audits, prover.results, strict=True)
        if result.step.task_uuid == task
    }
    done = prover.prove("--task", str(task), "--out", str(prover.folder), "--format", form)
    count = len(mine)
    assert done == Done(0, f"proved {count} of {count} records, in {prover.folder}\n", "")
    assert {file.name for file in prover.folder.iterdir()} == {f"{each}.{form}" for each in mine}
    for audit in mine:
        text = (prover.folder / f"{audit}.{form}").read_text()
        assert proved_audit(from_tlog_proof(text) if form == "tlog-proof" else text) == audit


def test_the_records_of_a_task_are_listed_the_oldest_first(prover: Prover) -> None:
    (step,) = create_steps(prover.conn)
    for number in range(3):
        insert_each(prover.conn, [Transition(step, "enqueued_for_orchestration", "{}", number)])
    rows = call(prover.conn, HOST.audit_schema, "list_task_audit_uuids", p_task_uuid=step.task_uuid)
    expected = prover.conn.execute(
        f"SELECT workflow_step_result_audit_uuid AS uuid FROM {AUDIT} WHERE task_uuid = %s "
        "ORDER BY recorded_at, workflow_step_result_audit_uuid".encode(),
        (step.task_uuid,),
    ).fetchall()
    assert len(expected) == 3
    assert [row["list_task_audit_uuids"] for row in rows] == [row["uuid"] for row in expected]


def test_each_record_of_a_list_is_proved(prover: Prover) -> None:
    listed = prover.listed(prover.audits[2], "", f"  {prover.audits[0].upper()} ")
    done = prover.prove("--list", listed, "--out", str(prover.folder))
    assert done == Done(0, f"proved 2 of 2 records, in {prover.folder}\n", "")
    assert {file.stem for file in prover.folder.iterdir()} == {prover.audits[2], prover.audits[0]}


def test_a_list_is_read_from_standard_input(prover: Prover) -> None:
    signed = ("--checkpoint", str(prover.tmp / "signed"), "--public-key", VERIFIER_KEY)
    out = ("--out", str(prover.folder))
    done = step_audit(
        *("prove", "--list", "-", *signed, *out), to=prover.conn, stdin=prover.audits[0]
    )
    assert done == Done(0, f"proved 1 of 1 records, in {prover.folder}\n", "")


def test_a_record_that_cannot_be_proved_is_named_and_stops_no_other(prover: Prover) -> None:
    conn = prover.conn
    record_results(conn, 1)
    (unsealed,) = (
        row["uuid"]
        for row in conn.execute(
            "SELECT workflow_step_result_audit_uuid::text AS uuid "
            f"FROM {AUDIT} ORDER BY recorded_at DESC, 1 DESC LIMIT 1".encode()
        )
    )
    altered, *good = prover.audits
    with conn.transaction(), unguarded(conn):
        conn.execute(
            f"UPDATE {AUDIT} SET success = NOT success "
            "WHERE workflow_step_result_audit_uuid = %s".encode(),
            (altered,),
        )
    listed = prover.listed(unsealed, altered, good[0], "no-uuid", UNKNOWN, *good[1:])
    done = prover.prove("--list", listed, "--out", str(prover.folder))
    assert (done.code, done.out) == (1, f"proved 3 of 7 records, in {prover.folder}\n")
    said = dict(line.split(": ", 1) for line in done.err.splitlines())
    assert list(said) == [unsealed, altered, "no-uuid", UNKNOWN]
    assert said[unsealed].startswith(f"audit row {unsealed} is not among the 4 records of the ")
    assert said[altered].startswith("the proof is false: ")
    assert said["no-uuid"] == "it is not the key of an audit row, which is a UUID."
    assert said[UNKNOWN].startswith(f"audit row {UNKNOWN} is not among the 4 records of the ")
    assert {file.stem for file in prover.folder.iterdir()} == set(good)


def test_several_proofs_of_another_log_are_refused_at_once(prover: Prover) -> None:
    with prover.conn.transaction(), unguarded(prover.conn):
        prover.conn.execute("UPDATE step_audit_leaves SET leaf_hash = sha256('x')")
    done = prover.prove("--list", prover.listed(*prover.audits), "--out", str(prover.folder))
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("step-audit: the log in schema ")
    assert " is not the one of the checkpoint: its first 4 records have another root. " in done.err
    assert not prover.folder.exists()


def test_an_empty_list_is_refused(prover: Prover) -> None:
    listed = prover.listed()
    done = prover.prove("--list", listed, "--out", str(prover.folder))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"step-audit: {listed} names no audit row; nothing was written. ")
    assert not prover.folder.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "what is to be proved is not clear; nothing was written. Give one of AUDIT_UUID, "),
        ((UNKNOWN, "--task", UNKNOWN), 2, "what is to be proved is not clear; nothing was written"),
        (("--task", UNKNOWN), 2, "several proofs go into a folder; nothing was written. Name one"),
        (("--task", UNKNOWN, "--out", "{}"), 3, f"task {UNKNOWN} has no audit rows; nothing was "),
        (("--list", "/dev/null", "--out", "{}"), 3, "/dev/null is a device, and not a file; nothi"),
    ],
)
def test_a_batch_that_is_none(
    prover: Prover, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = prover.prove(*(each.format(prover.folder) for each in arguments))
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"step-audit: {said}")
    assert not prover.folder.exists()


# Checked together.


def test_several_proofs_are_checked_together(tmp_path: Path) -> None:
    texts = [make_proof(index, 11) for index in range(3)]
    files = [tmp_path / f"{index}.json" for index in range(3)]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    names = [str(file) for file in files]
    printed = succeed("verify-proof", *names, "--public-key", VERIFIER_KEY)
    blocks = [f"proof                 {name}\naudit row  " for name in names]
    assert all(block in printed for block in blocks)
    documents = succeed("verify-proof", *names, "--public-key", VERIFIER_KEY, "--json")
    found = [json.loads(line) for line in documents.splitlines()]
    assert [(each["proof"], each["leaf_index"]) for each in found] == list(
        zip(names, range(3), strict=True)
    )


@pytest.mark.parametrize(("broken", "code"), [(["unread"], 3), (["false", "unread"], 1)])
def test_a_proof_that_fails_is_named_and_stops_no_other(
    tmp_path: Path, broken: list[str], code: int
) -> None:
    contents = {
        "false": make_proof(5, 11).replace('"success": true', '"success": false'),
        "unread": "dear",
        "good": make_proof(5, 11),
    }
    names = []
    for name in [*broken, "good"]:
        (tmp_path / name).write_text(contents[name])
        names.append(str(tmp_path / name))
    done = run("verify-proof", *names, str(tmp_path / "absent"), "--public-key", VERIFIER_KEY)
    assert done.code == code
    assert done.out.startswith(f"proof                 {tmp_path / 'good'}\naudit row ")
    assert done.out.count("audit row ") == 1
    said = [line.split(": ")[0] for line in done.err.splitlines()]
    assert said == [*(str(tmp_path / name) for name in broken), str(tmp_path / "absent")]
