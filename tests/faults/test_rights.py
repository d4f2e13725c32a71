"""Who may do what, as docs/rights.md has it, and rights by which somebody could forge evidence."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from psycopg import errors, sql

from step_audit.database import Connection, call
from step_audit.read.web import create_app
from step_audit.setup import installer
from step_audit.setup.script import Target
from step_audit.trust.checkpoint import Checkpoint, sign_checkpoint
from step_audit.trust.note import SignerKey, generate_key
from step_audit.trust.verify import verify
from tests.support.command import Done, run, succeed
from tests.support.connect import connect_again, dsn_of
from tests.support.host import HOST, USAGE, Transition, disable_own_audit, insert_each
from tests.support.install import install_audit, uninstall_audit
from tests.support.keys import write_key
from tests.support.results import count_audit_rows, record_results
from tests.support.roles import give_engine_to, login_roles
from tests.support.service import serving

PAGE = Path(__file__).parents[2] / "docs" / "rights.md"
READERS = ("reader", "auditor")
ROLES = (*READERS, "sealer", "attributor", "holder", "purger", "eraser", "owner")
TABLE = {
    command: dict(zip(ROLES, allowed.split(" | "), strict=True))
    for command, allowed in re.findall(
        r"^\| `(\w+)` \| ((?:yes|no)(?: \| (?:yes|no)){7}) \|$", PAGE.read_text(), re.MULTILINE
    )
}


@dataclass(frozen=True)
class World:
    """An audited engine of role owner, with a sealed log and one result that is not audited."""

    conn: Connection
    result: Transition
    action: Transition
    folder: Path
    public_key: str

    def arguments(self, command: str) -> list[str]:
        """What else the command is called with."""
        (row,) = self.conn.execute(
            "SELECT workflow_step_result_audit_uuid AS uuid FROM tasker_workflow_step_result_audit "
            "WHERE workflow_step_transition_uuid = %s",
            (self.result.transition_uuid,),
        ).fetchall()
        if command == "release":
            (done,) = call(
                self.conn,
                HOST.audit_schema,
                "hold_step_result_audit",
                p_reason="litigation",
                p_task_uuid=self.result.step.task_uuid,
            )
            return [str(done["hold"]), "--reason", "settled"]
        signed = ["--checkpoint", str(self.folder / "signed"), "--public-key", self.public_key]
        return {
            "history": [str(self.result.step.step_uuid)],
            "evidence": [
                *("--record", str(row["uuid"]), *signed),
                *("--out", str(self.folder / f"{uuid.uuid4()}.zip")),
            ],
            "export": ["--out", str(self.folder / f"{uuid.uuid4()}.jsonl")],
            "attribute": [str(self.action.transition_uuid), "--operator", "ann"],
            "hold": ["--task", str(self.result.step.task_uuid), "--reason", "litigation"],
            "purge": ["--before", "2020-01-01", "--reason", "old"],
            "erase": [
                *("--task", str(self.action.step.task_uuid), "--reason", "request 62"),
                "--dry-run",
            ],
            "verify": signed,
            "prove": [str(row["uuid"]), *signed],
            "checkpoint": ["--first", "--key", str(self.folder / "key")],
            "consistency": [
                *(str(self.folder / name) for name in ("older", "signed")),
                *("--public-key", self.public_key),
            ],
            "grant": ["newcomer", "--as", "reader"],
            "uninstall": ["--yes"],
        }.get(command, [])

    def may(self, role: str, command: str) -> bool:
        """Run a command as a role: whether it does what it is for; else it says why not."""
        dsn = dsn_of(self.conn, user=role)
        if command == "serve":
            return self._may_serve(dsn)
        done = run(command, *self.arguments(command), "--dsn", dsn)
        # The unaudited result is a finding.
        if done.code == 0 or (command, done.code) in {("verify", 1), ("status", 1)}:
            assert done.err == ""
            assert done.out != ""
            return True
        if (command, done.code) == ("erase", 1):
            # `hold` was tried before.
            assert " is held. " in done.err
            assert done.out != ""
            return True
        assert (done.code, done.out) == (3, "")
        assert re.fullmatch(
            r"step-audit: ((the database says: )?(permission denied for|must be owner of) \w+ \w+"
            r"|[^;]* belongs? to owner, and \w+ is no member of it"
            r"|role \w+ may not read [^;]*)"
            r"[.;] (nothing was (changed|verified)\. )?(Connect as|Its owner|The owner) .*\n",
            done.err,
        ), done.err
        return False

    def _may_serve(self, dsn: str) -> bool:
        step = self.result.step
        paths = (
            "/health",
            "/v1/audit",
            f"/v1/tasks/{step.task_uuid}/audit",
            f"/v1/tasks/{step.task_uuid}/workflow_steps/{step.step_uuid}/audit",
        )
        with serving(create_app(dsn)) as address:
            replies = [httpx.get(f"{address}{path}").status_code for path in paths]
        assert replies in ([200] * 4, [503] * 4)
        return replies == [200] * 4


@pytest.fixture
def world(host: Connection, tmp_path: Path) -> Iterator[World]:
    disable_own_audit(host)
    with login_roles(host, *ROLES, "newcomer"):
        give_engine_to(host, "owner")
        if len(HOST.schemas) > 1:
            host.execute(f"ALTER SCHEMA {HOST.schema} OWNER TO owner".encode())
        succeed("install", to=host)
        results = record_results(host, 2)
        action = Transition(results[1].step, "cancelled", "{}", 9, "pending")
        insert_each(host, [action])
        for role in ROLES[:-1]:
            succeed("grant", role, "--as", role, to=host)
        succeed("seal", to=host)
        key = generate_key("example.com/audit")
        write_key(tmp_path / "key", key)
        write_older(tmp_path / "older", host, key)
        succeed(
            *("checkpoint", "--key", str(tmp_path / "key"), "--out", str(tmp_path / "signed")),
            "--first",
            to=host,
        )
        made = World(host, results[0], action, tmp_path, key.verifier.to_text())
        leave_one_unaudited(made)
        yield made


def write_older(path: Path, conn: Connection, key: SignerKey) -> None:
    """Sign the log as it was with its first record."""
    (head,) = call(conn, HOST.audit_schema, "get_step_audit_tree_head", p_tree_size=1)
    older = Checkpoint(key.name, head["tree_size"], head["root_hash"])
    path.write_text(sign_checkpoint(older, key.to_text()))


def leave_one_unaudited(world: World) -> None:
    with world.conn.transaction():
        world.conn.execute("SET LOCAL session_replication_role = replica")
        record_results(world.conn, 1)


def test_the_page_has_each_command_that_needs_a_database() -> None:
    listed = re.findall(r"^  ([a-z][a-z-]+)  ", succeed("--help"), re.MULTILINE)
    elsewhere = {"sql", "build-extension", "keygen", "verify-proof", "verify-evidence", "demo"}
    of_two_kinds = {"watch"}
    assert set(listed) - elsewhere - of_two_kinds == set(TABLE)
    assert elsewhere | of_two_kinds < set(listed)
    for command in of_two_kinds:
        assert (
            f"\n`{command}` is for a role that is an auditor and a sealer at once.\n"
            in PAGE.read_text()
        )


# Uninstall comes last, after which there is nothing more to do.
def test_a_role_may_do_just_what_the_page_says(world: World) -> None:
    assert list(TABLE)[-1] == "uninstall"
    for command, allowed in TABLE.items():
        may = {}
        for role in ROLES:
            may[role] = "yes" if world.may(role, command) else "no"
            if command == "backfill" and may[role] == "yes":
                leave_one_unaudited(world)
        assert (command, may) == (command, allowed)


def test_readers_read_by_sql_and_nobody_granted_writes(world: World) -> None:
    step = world.result.step
    reads = (
        "SELECT * FROM step_audits",
        f"SELECT * FROM get_step_audit_history('{step.step_uuid}')",
        f"SELECT * FROM get_task_audit_history('{step.task_uuid}')",
        "SELECT * FROM list_step_audits()",
    )
    for role in ROLES[:-1]:
        with connect_again(world.conn, user=role) as conn:
            for read in reads:
                if role not in READERS:
                    with pytest.raises(errors.InsufficientPrivilege):
                        conn.execute(read.encode())
                else:
                    rows = conn.execute(read.encode()).fetchall()
                    assert {row["step_name"] for row in rows} >= {step.name}
            for row in call(world.conn, HOST.audit_schema, "list_step_audit_tables"):
                table = row["table_name"]
                for write in (f"INSERT INTO {table} DEFAULT VALUES", f"DELETE FROM {table}"):
                    with pytest.raises(errors.InsufficientPrivilege):
                        conn.execute(write.encode())


def test_an_owner_who_may_not_open_the_schema_is_told_who_may(host: Connection) -> None:
    with login_roles(host, "owner", "reader"):
        give_engine_to(host, "owner")
        schema = HOST.schemas[-1]
        host.execute(f"REVOKE USAGE ON SCHEMA {schema} FROM PUBLIC".encode())
        install_audit(host)
        grant = ("grant", "reader", "--as", "reader", "--dsn", dsn_of(host, user="owner"))
        assert run(*grant) == Done(
            3,
            "",
            "step-audit: the database says: owner may not give reader the right USAGE on schema "
            f"{schema}. As the owner of the schema: GRANT USAGE ON SCHEMA {schema} TO reader; "
            "then grant again.\n",
        )
        host.execute(f"GRANT USAGE ON SCHEMA {schema} TO reader".encode())
        assert run(*grant).code == 0
        with connect_again(host, user="reader") as reader:
            assert reader.execute("SELECT * FROM step_audits").fetchall() == []


def test_a_reader_sees_no_more_of_the_engines_tables_than_the_audit_shows(world: World) -> None:
    conn = world.conn
    conn.execute(f"ALTER TABLE {HOST.tasks} ADD COLUMN secret text".encode())
    with connect_again(conn, user="reader") as reader:
        with pytest.raises(errors.InsufficientPrivilege):
            reader.execute(f"SELECT secret FROM {HOST.tasks}".encode())
        assert reader.execute(f"SELECT task_uuid FROM {HOST.tasks}".encode()).rowcount > 0


def detach_and_attach(conn: Connection) -> None:
    installer.detach(conn, HOST.audit_schema, "5s")
    installer.attach(conn, HOST.audit_schema, Target())


def uninstall_and_install(conn: Connection) -> None:
    uninstall_audit(conn)
    install_audit(conn)


@pytest.mark.parametrize(
    ("through", "lost"),
    [
        (detach_and_attach, set[tuple[str, str]]()),
        # The functions that run with the owner's rights were dropped.
        (
            uninstall_and_install,
            {
                ("sealer", "seal"),
                ("attributor", "attribute"),
                ("holder", "hold"),
                ("holder", "release"),
                ("purger", "purge"),
                ("eraser", "erase"),
            },
        ),
    ],
)
def test_what_was_granted_stays(
    world: World, through: Callable[[Connection], None], lost: set[tuple[str, str]]
) -> None:
    through(world.conn)
    assert call(world.conn, HOST.audit_schema, "verify_step_audit_objects") == []
    granted = [
        (role, command)
        for command, allowed in TABLE.items()
        for role in ROLES[:-1]
        if allowed[role] == "yes"
    ]
    assert len(granted) >= 7
    assert {each for each in granted if not world.may(*each)} == lost
    assert not world.may("reader", "seal")
    assert not world.may("auditor", "seal")


# Rights by which somebody could forge evidence.


AUDIT = "tasker_workflow_step_result_audit"
STRAYS = {
    "GRANT EXECUTE ON FUNCTION create_step_result_audit() TO public": (
        "right EXECUTE on create_step_result_audit of PUBLIC"
    ),
    "GRANT EXECUTE ON FUNCTION create_step_result_audit() TO clerk": (
        "right EXECUTE on create_step_result_audit of clerk"
    ),
    "GRANT EXECUTE ON FUNCTION seal_step_result_audit(bigint) TO public": (
        "right EXECUTE on seal_step_result_audit of PUBLIC"
    ),
    **{
        f"GRANT {right} ON {table} TO {role}": f"right {right} on {table} of {shown}"
        for right in ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER", "REFERENCES")
        for table, role, shown in (
            (AUDIT, "clerk", "clerk"),
            ("step_audit_leaves", '"Some One"', "Some One"),
            ("step_audit_files", "public", "PUBLIC"),
        )
    },
    f"GRANT INSERT (success) ON {AUDIT} TO clerk": f"right INSERT (success) on {AUDIT} of clerk",
}


@pytest.fixture
def strayed(host: Connection) -> Iterator[Connection]:
    with login_roles(host, "clerk", "Some One"):
        install_audit(host)
        yield host


def stray_problems(conn: Connection) -> set[str]:
    (status,) = call(conn, HOST.audit_schema, "get_step_audit_status")
    assert status["attached"] is (not status["problems"])
    return set(status["problems"] or [])


def stray_findings(conn: Connection) -> set[str]:
    findings = verify(conn, HOST.audit_schema).findings
    return {f"{each.finding}: {each.field}" for each in findings}


def test_each_stray_right_is_named_and_taken_back(strayed: Connection) -> None:
    for grant, name in STRAYS.items():
        for repair in ("install", "attach"):
            strayed.execute(grant.encode())
            assert stray_problems(strayed) == {f"stray {name}: attach"}
            assert stray_findings(strayed) == {f"foreign object: {name}"}
            if repair == "install":
                assert install_audit(strayed)
            else:
                assert installer.attach(strayed, HOST.audit_schema, Target()).changed
            assert stray_problems(strayed) == stray_findings(strayed) == set()
    assert not install_audit(strayed)


def test_a_restore_without_rights_is_named_and_repaired(strayed: Connection) -> None:
    """``pg_restore --no-acl`` leaves tables to their owner, and functions to all."""
    strayed.execute(
        sql.SQL("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {} TO public").format(
            sql.Identifier(HOST.audit_schema)
        )
    )
    names = {
        f"right EXECUTE on {name} of PUBLIC"
        for name in ("create_step_result_audit", "seal_step_result_audit")
    }
    printed = run("status", to=strayed).out
    done = run("verify", "--dsn", dsn_of(strayed))
    assert done.code == 1
    for name in names:
        assert f"stray {name}: attach" in printed
        assert f"foreign object: {name}" in done.out
    # Meanwhile anybody could put the trigger on a table of his own.
    strayed.execute(f"GRANT {USAGE} TO clerk".encode())
    forge = "CREATE TRIGGER forge AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION {}"
    with connect_again(strayed, user="clerk") as clerk:
        clerk.execute("CREATE TEMPORARY TABLE mine (n integer)")
        clerk.execute(forge.format("create_step_result_audit()").encode())
        assert "nothing changed" not in succeed("install", to=strayed)
        clerk.execute("DROP TRIGGER forge ON mine")
        with pytest.raises(errors.InsufficientPrivilege):
            clerk.execute(forge.format("create_step_result_audit()").encode())
    assert "nothing changed" in succeed("install", to=strayed)
    assert stray_findings(strayed) == set()


def test_rights_to_read_and_to_seal_are_not_stray(strayed: Connection) -> None:
    for kind in ROLES[:-1]:
        succeed("grant", "clerk", "--as", kind, to=strayed)
    assert stray_problems(strayed) == stray_findings(strayed) == set()
    assert not install_audit(strayed)
    record_results(strayed, 1)
    assert count_audit_rows(strayed) == 1
