"""``evidence`` and ``verify-evidence``: what a person gets to read, and what in it can be false."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from step_audit.database import Connection
from step_audit.evidence.sample import draw_leaves
from step_audit.trust.checkpoint import Checkpoint
from step_audit.trust.note import SignerKey
from tests.support.command import Done, run, succeed
from tests.support.host import (
    HOST,
    OK,
    Transition,
    create_steps,
    disable_own_audit,
    insert_each,
)
from tests.support.keys import write_key
from tests.support.results import record_results
from tests.support.sealed import SIGNER, VERIFIER_KEY
from tests.trust.world import seal

Files = dict[str, bytes]
MARKUP = "<script>alert(1)</script>"


@pytest.fixture
def signed(conn: Connection, tmp_path: Path) -> Path:
    """Results, one of them changed and one deleted, an action by hand, sealed; their checkpoint."""
    disable_own_audit(conn)
    results = record_results(conn, 6)
    change = f"UPDATE {HOST.transitions} SET metadata = '{{}}' WHERE workflow_step_uuid = %s"
    conn.execute(f"{change} AND sort_key = 2".encode(), (results[0].step.step_uuid,))
    delete = f"DELETE FROM {HOST.transitions} WHERE workflow_step_uuid = %s AND sort_key = 2"
    conn.execute(delete.encode(), (results[1].step.step_uuid,))
    (step,) = create_steps(conn)
    hostile = json.dumps({"event": {"success": True, "result": MARKUP}})
    insert_each(
        conn,
        [
            Transition(step, OK, hostile, 1, "in_progress"),
            Transition(step, "resolved_manually", "{}", 2, OK),
        ],
    )
    seal(conn)
    key = write_key(tmp_path / "key", SIGNER)
    succeed("checkpoint", "--key", key, "--out", str(tmp_path / "note"), "--first", to=conn)
    return tmp_path / "note"


def make(conn: Connection, note: Path, *of: str, name: str = "evidence.zip") -> Done:
    out = str(note.with_name(name))
    made_by = ("--checkpoint", str(note), "--public-key", VERIFIER_KEY, "--out", out)
    return run("evidence", *of, *made_by, to=conn)


def check(file: Path, key: str = VERIFIER_KEY) -> Done:
    return run("verify-evidence", str(file), "--public-key", key, "--json")


def read(file: Path) -> Files:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rows(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def write(file: Path, files: Files, sums: bool = True) -> None:
    if sums:
        manifest = json.loads(files["manifest.json"])
        manifest["files"] = {
            name: hashlib.sha256(content).hexdigest()
            for name, content in files.items()
            if name != "manifest.json"
        }
        files["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def audits(conn: Connection, where: str = "TRUE") -> list[str]:
    found = conn.execute(
        "SELECT workflow_step_result_audit_uuid::text AS key "
        f"FROM tasker_workflow_step_result_audit AS a WHERE {where}".encode()
    ).fetchall()
    return [row["key"] for row in found]


def subject(conn: Connection, column: str) -> str:
    row = conn.execute(
        f"SELECT {column}::text AS found FROM list_step_audits(p_manual => TRUE)".encode()
    ).fetchone()
    assert row
    found: str = row["found"]
    return found


def test_each_way_to_ask_gives_evidence_that_verifies(conn: Connection, signed: Path) -> None:
    keys = audits(conn)
    signed.with_name("list").write_text("\n".join(keys[:3]))
    asked = {
        ("--record", keys[0]): 1,
        ("--step", subject(conn, "workflow_step_uuid")): 1,
        ("--task", subject(conn, "task_uuid")): 1,
        ("--list", str(signed.with_name("list"))): 3,
        ("--sample", "4"): 4,
        ("--sample", "1000"): len(keys),
        ("--sample", "2", "--without-results"): 2,
        ("--sample", "2", "--seed-checkpoint", str(signed)): 2,
    }
    for number, (of, count) in enumerate(asked.items()):
        done = make(conn, signed, *of, name=f"{number}.zip")
        file = signed.with_name(f"{number}.zip")
        assert done == Done(0, f"proved {count} of {count} records, in {file}\n", "")
        checked = check(file)
        assert (checked.code, checked.err) == (0, "")
        found = json.loads(checked.out)
        assert (found["population"], found["proved"], found["missing"]) == (count, count, [])
        assert found["page checked"] is True
        root = signed.read_text().splitlines()[2]
        assert found["seed"] == (root if "--sample" in of else None)
        withheld = count if "--without-results" in of else 0
        assert found["results withheld"] == withheld


class _Page(HTMLParser):
    """The text of a page, and its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags = "", set[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_archive_shows_what_is_known_of_the_records(conn: Connection, signed: Path) -> None:
    keys = audits(conn)
    make(conn, signed, "--sample", "1000")
    files = read(signed.with_name("evidence.zip"))
    records = rows(files["records.jsonl"])
    assert {record["workflow_step_result_audit_uuid"] for record in records} == set(keys)
    assert {f"proofs/{key}.tlog-proof" for key in keys} < files.keys()
    assert sorted(row["operation"] for row in rows(files["changes.jsonl"])) == ["delete", "update"]
    assert [row["action"] for row in rows(files["actions.jsonl"])] == ["ResolveManually"]
    assert files["checkpoint.txt"] == files["seed-checkpoint.txt"] == signed.read_bytes()
    page = _Page(files["index.html"].decode())
    for key in keys:
        assert key in page.text
    for word in ("ResolveManually", "update", "delete", MARKUP, "step_0"):
        assert word in page.text
    assert not page.tags & {"script", "img", "link", "iframe", "form"}


def test_results_that_are_left_out_are_nowhere(conn: Connection, signed: Path) -> None:
    make(conn, signed, "--sample", "1000", "--without-results")
    content = b"".join(read(signed.with_name("evidence.zip")).values())
    assert b"alert(1)" not in content
    assert b"execution_time_ms" in content


def other_key() -> str:
    return SignerKey("example.com/audit", bytes(range(1, 33))).verifier.to_text()


def tampered(files: Files, name: str, old: bytes, new: bytes) -> Files:
    assert old in files[name]
    return files | {name: files[name].replace(old, new, 1)}


def without_first_drawn(files: Files) -> Files:
    manifest = json.loads(files["manifest.json"])
    manifest["drawn"] = manifest["drawn"][1:]
    return files | {"manifest.json": json.dumps(manifest).encode()}


def without_a_record(files: Files) -> Files:
    records = rows(files["records.jsonl"])
    gone = records.pop()["workflow_step_result_audit_uuid"]
    manifest = json.loads(files["manifest.json"])
    manifest["population"] -= 1
    left = {name: content for name, content in files.items() if gone not in name}
    return left | {
        "records.jsonl": "".join(json.dumps(record) + "\n" for record in records).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }


BREAKS: dict[str, tuple[Callable[[Files], Files], str]] = {
    "a record": (
        lambda files: tampered(files, "records.jsonl", b'"success": true', b'"success": false'),
        "is not as it was sealed",
    ),
    "the page": (
        lambda files: tampered(files, "index.html", b"success", b"failure"),
        "its page does not show what the other files hold",
    ),
    "a change": (
        lambda files: tampered(files, "changes.jsonl", b'"update"', b'"delete"'),
        "its page does not show",
    ),
    "the drawing": (without_first_drawn, "its sample is not the one that the checkpoint draws"),
    "a record that was drawn": (without_a_record, "it does not show each record that was drawn"),
    "a proof of another": (
        lambda files: (
            files
            | dict(
                zip(
                    [name for name in files if name.startswith("proofs/")],
                    [files[name] for name in reversed(files) if name.startswith("proofs/")],
                    strict=True,
                )
            )
        ),
        "proves another record",
    ),
}


@pytest.mark.parametrize("what", BREAKS)
def test_what_is_false_is_said(conn: Connection, signed: Path, what: str) -> None:
    make(conn, signed, "--sample", "1000")
    file = signed.with_name("evidence.zip")
    broken, said = BREAKS[what]
    files = read(file)
    write(file, broken(files))
    done = check(file)
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert "Do not rely on it" in done.err


def test_a_file_that_is_not_the_manifests_is_said(conn: Connection, signed: Path) -> None:
    make(conn, signed, "--sample", "2")
    file = signed.with_name("evidence.zip")
    files = read(file)
    write(file, files | {"more": b""}, sums=False)
    assert "its files are not those of its manifest" in check(file).err
    for name in files.keys() - {"manifest.json"}:
        write(file, files | {name: files[name] + b" "}, sums=False)
        done = check(file)
        assert done.code == 1, name
        assert f"{name} is not the file of its manifest" in done.err
    write(file, files)
    assert check(file).code == 0
    assert check(file, other_key()).code in {1, 3}


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"PK\x03\x04" + b"x" * 100, b'{"format": 1}', b"\0" * 1000]
)
def test_what_is_no_archive_is_said(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "evidence.zip"
    file.write_bytes(content)
    done = check(file)
    assert (done.code, done.out) == (3, "")
    assert "cannot be read as evidence" in done.err
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("manifest.json", content)
    assert check(file).code == 3


def test_a_pipe_a_folder_and_nothing_are_no_archive(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, said in {"pipe": "it is no file", ".": "it is no file", "no": "No such file"}.items():
        done = check(tmp_path / name)
        assert (done.code, done.out) == (3, "")
        assert said in done.err


def test_what_cannot_be_proved_is_missing_and_stops_no_other(
    conn: Connection, signed: Path
) -> None:
    record_results(conn, 1)
    late = audits(
        conn,
        "NOT EXISTS (SELECT FROM step_audit_leaves WHERE record_uuid = "
        "a.workflow_step_result_audit_uuid)",
    )
    sealed = [key for key in audits(conn) if key not in late]
    signed.with_name("list").write_text("\n".join([*late, *sealed]))
    done = make(conn, signed, "--list", str(signed.with_name("list")))
    assert done.code == 1
    assert f"proved {len(sealed)} of {len(sealed) + 1} records" in done.out
    assert f"{late[0]}: audit row {late[0]} is not among the" in done.err
    checked = check(signed.with_name("evidence.zip"))
    assert checked.code == 0
    assert [each["record"] for each in json.loads(checked.out)["missing"]] == late


def test_what_was_erased_is_a_missing_part_of_the_sample(conn: Connection, signed: Path) -> None:
    task = subject(conn, "task_uuid")
    succeed("erase", "--task", task, "--reason", "asked for", "--yes", to=conn)
    done = make(conn, signed, "--sample", "1000")
    assert done.code == 1
    assert "was erased at" in done.err
    assert len(json.loads(check(signed.with_name("evidence.zip")).out)["missing"]) == 1
    without = make(conn, signed, "--sample", "1000", "--without-results", name="without.zip")
    assert without.code == 0


def test_a_drawing_is_that_of_the_page() -> None:
    seed = Checkpoint("example.com/audit", 5, bytes(32))
    drawn = list(draw_leaves(seed))
    assert sorted(drawn) == [0, 1, 2, 3, 4]
    digest = hashlib.sha256(b"step-audit sample 1\n" + bytes(32) + bytes(8)).digest()
    assert drawn[0] == int.from_bytes(digest[:16], "big") % 5
    assert list(draw_leaves(Checkpoint("example.com/audit", 5, b"x" * 32))) != drawn
    assert list(draw_leaves(Checkpoint("example.com/audit", 0, bytes(32)))) == []


def test_twenty_five_records_are_checked_within_two_seconds(
    conn: Connection, tmp_path: Path
) -> None:
    record_results(conn, 30)
    seal(conn)
    key = write_key(tmp_path / "key", SIGNER)
    note = tmp_path / "note"
    succeed("checkpoint", "--key", key, "--out", str(note), "--first", to=conn)
    make(conn, note, "--sample", "25")
    began = time.process_time()
    assert check(tmp_path / "evidence.zip").code == 0
    assert time.process_time() - began < 2


def test_what_is_asked_must_be_clear(conn: Connection, signed: Path) -> None:
    for of in ((), ("--sample", "1", "--record", audits(conn)[0])):
        done = make(conn, signed, *of)
        assert (done.code, done.out) == (2, "")
        assert "what the evidence is to be of is not clear" in done.err
    assert make(conn, signed, "--task", "00000000-0000-0000-0000-000000000062").code == 4
    assert not signed.with_name("evidence.zip").exists()
    signed.with_name("evidence.zip").write_text("precious")
    assert "is there already" in make(conn, signed, "--sample", "1").err
