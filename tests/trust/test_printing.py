"""Whatever others call their objects, files and workers: it stays on its line, and can be seen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg import sql

from step_audit.cli import cli
from step_audit.cli.output import say, say_json
from step_audit.database import Connection
from step_audit.printing import printable, printable_json
from step_audit.trust.verify import Finding
from tests.support.command import Done, run, step_audit
from tests.support.connect import connect_again, dsn_of
from tests.support.host import HOST
from tests.support.keys import write_key
from tests.support.results import record_results
from tests.support.sealed import SIGNER, VERIFIER_KEY
from tests.trust.attacks import AUDIT

HOSTILE = 'x\nfindings: 0\r\x1b[2J\x7f\x9b1m\u202e\u200b\u2028"[/b]:smile:'
SHOWN = r"x\nfindings: 0\r\x1b[2J\x7f\x9b1m\u202e\u200b\u2028" + '"[/b]:smile:'

TEXT = st.text(st.characters(), max_size=40) | st.text(
    st.sampled_from("\n\r\t\x1b\x00\x7f\x85\x9b\u200f\u202e\u2066\ud800\udcff\ufeff\U000e0001aé\\")
)


@given(TEXT)
@example(HOSTILE)
def test_what_is_printed_can_be_seen_and_what_can_be_seen_is_printed(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    # What can be seen stays, in its order.
    rest = iter(shown)
    assert all(each in rest for each in text if each.isprintable())
    assert (shown == text) == text.isprintable()
    assert printable(shown) == shown


# The database has no lone surrogates.
VALUES = TEXT.map(lambda text: text.encode(errors="ignore").decode()) | st.integers()


@given(st.dictionaries(VALUES.map(str), st.lists(VALUES), max_size=3))
@example({HOSTILE: [HOSTILE]})
def test_json_that_can_be_seen_says_the_same(document: object) -> None:
    for text in (json.dumps(document, ensure_ascii=False, indent=1), json.dumps(document)):
        shown = printable_json(text)
        assert shown.isprintable()
        assert json.loads(shown) == document


def test_a_finding_is_one_line() -> None:
    assert str(Finding("foreign object", field=f"index {HOSTILE}")) == (
        f"foreign object: index {SHOWN}"
    )


@pytest.mark.parametrize("err", [False, True])
def test_a_line_and_a_document_are_printed_so_that_all_can_be_seen(
    capsys: pytest.CaptureFixture[str], err: bool
) -> None:
    say(HOSTILE, err=err)
    say_json(json.dumps([HOSTILE], ensure_ascii=False), err=err)
    printed = capsys.readouterr()
    line, document = (printed.err if err else printed.out).splitlines()
    assert (printed.out if err else printed.err) == ""
    assert line == SHOWN
    assert document.isprintable()
    assert json.loads(document) == [HOSTILE]


def test_commands_print_in_one_way() -> None:
    folder = Path(cli.__file__).parent
    sources = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    printing = {
        name
        for name, text in sources.items()
        if re.search(r"typer\.echo\(|\bprint\(|\.write\(", text)
    }
    # Tables and CSV, and the key that keygen writes into its file.
    assert printing == {"output.py", "render.py", "progress.py", "checkpoint_commands.py"}
    assert len(re.findall(r"typer\.echo\(|\bprint\(", sources["checkpoint_commands.py"])) == 0
    assert re.findall(r"\bprint\(.*", sources["progress.py"]) == [
        "print(printable(line), markup=False, emoji=False, highlight=False, soft_wrap=True)"
    ]


@pytest.fixture
def hostile(conn: Connection) -> Iterator[Connection]:
    """A database in which an index, a function, a worker's role and a step have such a name."""
    name = sql.Identifier(HOSTILE)
    conn.execute(sql.SQL("CREATE ROLE {} SUPERUSER").format(name))
    try:
        with connect_again(conn) as worker:
            worker.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(name))
            record_results(worker, 2)
        table = sql.SQL(AUDIT)
        conn.execute(sql.SQL("CREATE INDEX {} ON {} (success) WHERE success").format(name, table))
        conn.execute(
            sql.SQL("CREATE FUNCTION {}(jsonb) RETURNS int LANGUAGE sql AS 'SELECT 1'").format(
                sql.Identifier(HOST.audit_schema, HOSTILE)
            )
        )
        named_steps = sql.SQL(HOST.relation("tasker_named_steps"))
        if len(HOST.schemas) > 1:
            named_steps = sql.SQL(f"{HOST.schema}.{HOST.relation('tasker_named_steps')}")
        conn.execute(
            sql.SQL("UPDATE {} SET name = {} || gen_random_uuid()").format(
                named_steps, sql.Literal(HOSTILE)
            )
        )
        yield conn
    finally:
        conn.execute(sql.SQL("DROP OWNED BY {}").format(name))
        conn.execute(sql.SQL("DROP ROLE {}").format(name))


def seen(done: Done) -> Done:
    """What a command has printed: nothing in it but line ends is unseen."""
    for text in (done.out, done.err):
        assert text.replace("\n", "").isprintable(), text
        assert "findings: 0" not in text.split("\n")
    return done


def test_no_command_prints_what_cannot_be_seen(hostile: Connection, tmp_path: Path) -> None:
    key = write_key(tmp_path / "key", SIGNER)
    signed = str(tmp_path / "signed")
    verified = ("--checkpoint", signed, "--public-key", VERIFIER_KEY)
    (row,) = hostile.execute(
        f"SELECT workflow_step_result_audit_uuid AS audit, task_uuid AS task FROM {AUDIT} "
        "LIMIT 1".encode()
    ).fetchall()
    done = {
        command: seen(run(*command, to=hostile))
        for command in (
            ("status",),
            ("status", "--json"),
            ("seal",),
            ("checkpoint", "--key", key, "--first", "--out", signed),
            ("verify", *verified),
            ("verify", *verified, "--json"),
            ("history", "--task", str(row["task"])),
            ("history", "--task", str(row["task"]), "--format", "json"),
            ("history", "--task", str(row["task"]), "--format", "jsonl"),
            ("prove", str(row["audit"]), *verified),
            ("prove", str(row["audit"]), *verified, "--format", "tlog-proof"),
            ("watch", "--once"),
            ("backfill",),
            ("install",),
            ("attach",),
            ("verify", "--schema", HOSTILE),
            ("status", "--schema", HOSTILE),
            ("grant", HOSTILE, "--as", "reader"),
            ("grant", f"no{HOSTILE}", "--as", "reader"),
            ("checkpoint", "--key", key, "--after", HOSTILE),
            ("checkpoint", "--key", key, "--folder", HOSTILE),
            ("verify", "--since", HOSTILE),
        )
    }
    report = done["verify", *verified]
    assert report.code == 1
    assert [line for line in report.out.split("\n") if SHOWN in line]
    assert json.dumps(HOSTILE)[3:-1].replace("\x7f", r"\u007f") in done["watch", "--once"].err
    table, as_json, as_lines = (done[each].out for each in done if each[0] == "history")
    assert table.count(SHOWN) == 2 * 2
    assert {each["recorded_by"] for each in json.loads(as_json)} == {HOSTILE}
    names = [json.loads(line)["step_name"] for line in as_lines.splitlines()]
    assert names
    assert all(name.startswith(HOSTILE) for name in names)
    proof = tmp_path / "proof"
    proof.write_text(done["prove", str(row["audit"]), *verified].out)
    shown = seen(run("verify-proof", str(proof), "--public-key", VERIFIER_KEY))
    assert f"recorded by           {SHOWN}\n" in shown.out


def test_an_error_of_the_server_or_of_a_file_is_one_line(conn: Connection, tmp_path: Path) -> None:
    file = tmp_path / HOSTILE.replace("/", "")
    for arguments in (
        ("status", "--dsn", dsn_of(conn, dbname=HOSTILE)),
        ("verify-proof", str(file), "--public-key", VERIFIER_KEY),
        ("verify-proof", str(file), "-", "--public-key", VERIFIER_KEY),
        ("verify", "--dump", str(file)),
        ("prove", "\udcff", "--checkpoint", "x", "--public-key", VERIFIER_KEY),
    ):
        done = seen(step_audit(*arguments))
        assert done.code in (2, 3)
        assert done.err.count("\n") == (2 if "-" in arguments else 1)
