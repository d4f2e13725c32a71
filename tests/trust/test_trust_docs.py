"""The session of docs/trust.md happens as it is printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from step_audit.database import Connection
from step_audit.demo.engine import Engine
from step_audit.demo.run import PAST_TASKS
from tests.support.command import Done, client, step_audit, succeed
from tests.support.connect import dsn_of
from tests.trust.attacks import AUDIT

PAGE = Path(__file__).parents[2] / "docs" / "trust.md"
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HASH = re.compile(r"\b[0-9a-f]{64}\b")


def session() -> list[tuple[str, str]]:
    """Each command of the page with the output printed below it."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [
        (command, output)
        for block in blocks
        for part in block.split("$ ")[1:]
        for command, _, output in [part.partition("\n")]
    ]


def run(command: str, conn: Connection) -> Done:
    program, *arguments = shlex.split(command)
    if program == "psql":
        return client("psql", "-X", *arguments, "-d", dsn_of(conn))
    assert program == "step-audit"
    if ">" in arguments:
        at = arguments.index(">")
        done = step_audit(*arguments[:at])
        Path(arguments[at + 1]).write_text(done.out)
        return Done(done.code, "", "")
    needs_database = arguments[0] not in {"keygen", "verify-proof"}
    return step_audit(*arguments, to=conn if needs_database else None)


def normalised(output: str) -> str:
    output = HASH.sub("<hash>", UUID.sub("<uuid>", output))
    output = re.sub(r"database .*, server .*", "<server>", output)
    output = re.sub(r"verified .* by \w+", "verified <when>", output)
    output = re.sub(r"objects of the catalog \d+", "objects <n>", output)
    output = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+", "<time>", output)
    # Records of one millisecond are sealed in any order.
    output = re.sub(r"place in the log +\d+", "place in the log <n>", output)
    return re.sub(r" +", " ", re.sub(r"leaf \d+", "leaf <n>", output)).strip()


def replaced(command: str, real: dict[str, str]) -> str:
    """The command with the uuids of this run in place of the page's."""
    return UUID.sub(lambda found: real[found[0]], command)


def test_the_page_shows_what_happens(
    empty: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(empty)
    engine.create_tables()
    engine.play_past(PAST_TASKS)
    succeed("install", to=empty)
    monkeypatch.chdir(tmp_path)
    real: dict[str, str] = {}
    codes = []
    for command, documented in session():
        done = run(replaced(command, real), empty)
        assert done.err == "" or command.startswith("step-audit keygen")
        assert normalised(done.out) == normalised(documented), command
        real |= dict(zip(UUID.findall(documented), UUID.findall(done.out), strict=True))
        codes.append(done.code)
    assert codes == [0] * (len(codes) - 1) + [1]


_PLAIN = (
    f"CREATE INDEX mine ON {AUDIT} (worker_uuid, recorded_at)",
    f"CREATE INDEX mine ON {AUDIT} USING hash (worker_uuid)",
    f"CREATE UNIQUE INDEX mine ON {AUDIT} (workflow_step_transition_uuid) INCLUDE (success)",
    f"CREATE MATERIALIZED VIEW own.mine AS SELECT recorded_at, success FROM {AUDIT}; "
    "CREATE INDEX ON own.mine (date_trunc('day', recorded_at)) WHERE NOT success",
)
_LYING = (
    f"CREATE INDEX mine ON {AUDIT} (recorded_at) WHERE NOT success",
    f"CREATE INDEX mine ON {AUDIT} (lower(worker_uuid::text))",
)


@pytest.mark.parametrize("statement", [*_PLAIN, *_LYING])
def test_an_index_of_ones_own_is_a_finding_where_the_page_says_so(
    conn: Connection, statement: str
) -> None:
    conn.execute("CREATE SCHEMA own")
    conn.execute(statement.encode())
    done = step_audit("verify", to=conn)
    found = [line for line in done.out.splitlines() if line.startswith("foreign object: ")]
    if statement in _PLAIN:
        assert (done.code, found) == (0, [])
    else:
        assert done.code == 1
        assert [line.startswith("foreign object: index mine on ") for line in found] == [True]
