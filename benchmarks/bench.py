"""What every measurement needs: a server, the contestants, sizes, databases to write to."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from benchmarks import events
from benchmarks.contestants import OURS, Contestant, Lineup
from benchmarks.measure import timed
from step_audit.database import Connection, connect
from step_audit.demo.embedded import EmbeddedServer
from step_audit.setup.sources import load_sources

_HERE = Path(__file__).parent

STEPS_PER_TASK = 10


@dataclass(frozen=True)
class Scale:
    """How much is measured. Many short rounds: what else the machine does then strikes few."""

    name: str
    few: int
    pasts: tuple[int, ...]
    backfills: int = 3
    page: int = 1_000
    many: int = 10_000
    rounds: int = 60
    statements: int = 250
    steps: int = 20_000
    sized_records: int = 50_000
    seconds: float = 3.0
    trust: int = 50_000

    @property
    def past(self) -> int:
        """The past that is measured more than once."""
        return self.pasts[0]


FULL = Scale("full", few=10_000, pasts=(1_000_000,))
LARGE = Scale("large", few=10_000, pasts=(1_000_000, 10_000_000))
QUICK = Scale(
    "quick",
    few=1_000,
    pasts=(20_000,),
    page=100,
    many=1_000,
    rounds=10,
    statements=100,
    steps=2_000,
    sized_records=5_000,
    seconds=1.0,
    trust=5_000,
)


# Sort keys of targets lie so far apart that none meets another's, nor those of the past.
_SORT_KEYS = itertools.count(100_000, 100_000)


@dataclass
class Target:
    """A database that a workload writes to; each batch is of the next steps, round and round."""

    conn: Connection
    dsn: str
    by_itself: bool
    steps: int
    first: int = 1
    _next: int = 0
    _sort_key: int = field(default_factory=lambda: next(_SORT_KEYS))

    def batch(self, count: int) -> tuple[int, int]:
        """Where the next ``count`` steps begin, and a sort key that they have not had."""
        if self._next + count > self.steps:
            self._next = 0
        self._sort_key += 1
        first = self.first + self._next
        self._next += count
        return first, self._sort_key

    def write_each(self, event: str, state: str, count: int) -> float:
        """Write ``count`` transitions one by one, inside the server; gives µs for each."""
        return self._write("bench_write_each", event, state, count)

    def write_together(self, event: str, state: str, count: int) -> float:
        """Write ``count`` transitions in one statement; gives µs for each."""
        return self._write("bench_write_together", event, state, count)

    def _write(self, function: str, event: str, state: str, count: int) -> float:
        first, sort_key = self.batch(count)
        by_itself = self.by_itself and state == events.RESULT
        arguments = (first, count, event, state, sort_key, by_itself)
        query = f"SELECT {function}(%s, %s, %s, %s, %s, %s)".encode()
        return timed(lambda: self.conn.execute(query, arguments)) / count * 1e6


@dataclass
class Bench:
    """A run on one server."""

    server: EmbeddedServer
    lineup: Lineup
    scale: Scale
    major: int
    notes: list[str] = field(default_factory=list)
    _root: Connection | None = None
    _databases: set[str] = field(default_factory=set)

    @property
    def root(self) -> Connection:
        """A connection to create databases through."""
        if self._root is None:
            self._root = connect(self.server.dsn())
        return self._root

    def close(self) -> None:
        """End the connection, so that the server can stop."""
        if self._root is not None:
            self._root.close()
            self._root = None

    def note(self, text: str) -> None:
        """Keep something for the reader of the results."""
        self.notes.append(text)

    @contextmanager
    def targets(self, *names: str) -> Iterator[dict[str, Target]]:
        """Fresh databases of contestants, each with the same steps and one result of each."""
        found = self.lineup.named(*names)
        for contestant in found:
            self._ensure_template(contestant)
        targets = {}
        for contestant in found:
            dsn = self.clone(template_name(contestant), _clone(contestant), small=True)
            targets[contestant.name] = Target(
                connect(dsn), dsn, contestant.by_itself, self.scale.steps
            )
        yield targets
        for contestant in found:
            targets[contestant.name].conn.close()
            self.drop(_clone(contestant))

    def create_host(self, name: str) -> str:
        """Create a database with the engine's tables and no rows; gives its connection string."""
        self.drop(name)
        self.root.execute(f'CREATE DATABASE "{name}"'.encode())
        self._databases.add(name)
        with connect(self.server.dsn(name)) as conn:
            create_tables(conn, self.major)
        return self.server.dsn(name)

    def clone(self, template: str, name: str, small: bool = False) -> str:
        """Copy a database that nobody is connected to; gives the copy's connection string."""
        self.drop(name)
        strategy = "wal_log" if small else "file_copy"
        self.root.execute(
            f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY {strategy}'.encode()
        )
        self._databases.add(name)
        return self.server.dsn(name)

    def exists(self, name: str) -> bool:
        """Whether a database of this run is there."""
        return name in self._databases

    def rename(self, name: str, new: str) -> None:
        """Rename a database that nobody is connected to."""
        self.drop(new)
        self.root.execute(f'ALTER DATABASE "{name}" RENAME TO "{new}"'.encode())
        self._databases.remove(name)
        self._databases.add(new)

    def drop(self, name: str) -> None:
        """Drop a database, if it is there."""
        self.root.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())
        self._databases.discard(name)

    def past(self, records: int) -> str:
        """The name of a database with so many results and no audit."""
        name = f"past_{records}"
        if not self.exists(name):
            with connect(self.create_host(name)) as conn:
                fill_past(conn, records)
        return name

    def audited(self, records: int) -> str:
        """The name of a database with so many audited results."""
        name = f"audited_{records}"
        if not self.exists(name):
            with connect(self.clone(self.past(records), name)) as conn:
                self.lineup.contestants[OURS].install(conn)
                conn.execute("CALL backfill_step_result_audit()")
                conn.execute("VACUUM ANALYZE")
        return name

    def _ensure_template(self, contestant: Contestant) -> None:
        if self.exists(template_name(contestant)):
            return
        with connect(self.create_host(template_name(contestant))) as conn:
            contestant.install(conn)
            add_steps(conn, self.scale.steps)
            # On empty tables the plans of foreign keys' checks would scan, and stay.
            target = Target(conn, "", contestant.by_itself, self.scale.steps)
            for _ in range(self.scale.steps // 1000):
                target.write_together(events.name("text", "1 KB"), events.RESULT, 1000)
            conn.execute("VACUUM ANALYZE")


def create_tables(conn: Connection, major: int) -> None:
    """Create the engine's tables, its UUIDv7, and what the benchmarks write with."""
    conn.execute((resources.files("step_audit.demo") / "host.sql").read_bytes())
    conn.execute(_host_key_function(major).encode())
    conn.execute((_HERE / "host.sql").read_bytes())
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO bench_events VALUES (%s, %s, %s)",
            [
                (name, json.dumps(metadata), "worker_uuid" in metadata)
                for name, metadata in events.all_events().items()
            ],
        )


def add_steps(conn: Connection, steps: int) -> None:
    """Create new steps, and choose them to be written of."""
    conn.execute("SELECT bench_add_tasks(%s, %s)", (steps // STEPS_PER_TASK, STEPS_PER_TASK))
    conn.execute("SELECT bench_choose_steps(%s, TRUE)", (steps,))


def fill_past(conn: Connection, records: int, results_per_step: int = 5) -> None:
    """Write results of the past, which nothing audits."""
    tasks = records // results_per_step // STEPS_PER_TASK
    # Its foreign keys hold by construction.
    conn.execute("SET session_replication_role = replica")
    conn.execute("SELECT bench_add_tasks(%s, %s)", (tasks, STEPS_PER_TASK))
    conn.execute("ANALYZE")
    event = events.name("text", "0.3 KB")
    conn.execute("SELECT bench_fill_past(%s, %s)", (results_per_step, event))
    conn.execute("RESET session_replication_role")
    conn.execute("VACUUM ANALYZE")


def _host_key_function(major: int) -> str:
    # All contestants have the same key generator: the server's, or where it has none, ours.
    key = "uuidv7()"
    if major < 18:
        (source,) = (file.text for file in load_sources().files if file.name == "0006_audit_keys")
        (pieces,) = re.findall(r"ELSE\n(.*?)\n +END;", source, re.DOTALL)
        key = "".join(re.findall(r"'((?:[^']|'')*)'", pieces)).replace("''", "'")
    return f"CREATE FUNCTION uuid_generate_v7() RETURNS uuid LANGUAGE sql RETURN {key}"


def template_name(contestant: Contestant) -> str:
    """The database that a contestant's are copied from."""
    return re.sub(r"\W+", "_", f"template {contestant.name}")


def _clone(contestant: Contestant) -> str:
    return re.sub(r"\W+", "_", f"clone {contestant.name}")
