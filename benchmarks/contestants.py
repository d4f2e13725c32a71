"""Who is compared: no audit, an audit by the application, the specification's, ours, a peer's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Median
from step_audit.database import Connection
from step_audit.setup.installer import install
from step_audit.setup.script import Target
from step_audit.setup.sources import load_sources

NONE, FLOOR, SPEC, OURS, PEER = "none", "floor", "spec", "step-audit", "auditrum"
LEAN_PEER = "auditrum, keys only"
VIEWS = "step-audit over views"

EXPLAINED = {
    NONE: "no audit",
    FLOOR: "the application writes the audit row itself: frozen, with three enforced keys",
    SPEC: "the specification's table, indexes and trigger",
    OURS: "this project",
    VIEWS: "the same in a schema of its own, as beside today's Tasker",
    PEER: "auditrum 0.9 on the two states of a worker result, each event with the whole row",
    LEAN_PEER: "the same with three columns only: no worker, correlation id, success or time",
}


@dataclass(frozen=True)
class Contestant:
    """Something that is installed in an engine's database.

    ``by_itself``: the application writes the audit row. ``audit_tables`` are its tables.
    """

    name: str
    install: Callable[[Connection], None]
    audit_tables: tuple[str, ...] = ()
    by_itself: bool = False


@dataclass(frozen=True)
class Lineup:
    """The contestants that can be had, and the notes on those that cannot."""

    contestants: dict[str, Contestant]
    spec_backfill: str | None
    notes: tuple[str, ...]

    def named(self, *names: str) -> list[Contestant]:
        """Those of the names that take part."""
        return [self.contestants[name] for name in names if name in self.contestants]


def line_up(spec: Path) -> Lineup:
    """Find the contestants; ``spec`` is the file of the specification's SQL, which may be absent.

    Beside it ``baseline_backfill.sql`` is its backfill.
    """
    audit = ("tasker_workflow_step_result_audit",)
    found = [
        Contestant(NONE, lambda conn: None),
        Contestant(FLOOR, install_floor, audit, by_itself=True),
        Contestant(OURS, install_ours, audit),
        Contestant(VIEWS, _install_over_views, audit),
    ]
    notes = []
    spec_backfill = None
    if spec.exists():
        text = spec.read_bytes()
        found.append(Contestant(SPEC, lambda conn: _run(conn, text), audit))
        spec_backfill = spec.with_name("baseline_backfill.sql").read_text(encoding="utf-8")
    else:
        notes.append(f"`{SPEC}` is left out: its SQL was not there. Give it with --spec.")
    try:
        sources = {name: _peer_sql(columns) for name, columns in _PEER_COLUMNS.items()}
    except ImportError as error:
        notes.append(f"`{PEER}` is left out: it is not installed ({error}).")
    else:
        found += [
            Contestant(name, lambda conn, text=sql: _run(conn, text), ("auditlog", "audit_context"))  # type: ignore[misc]
            for name, sql in sources.items()
        ]
        notes.append(
            f"`{PEER}` writes a generic event with a copy of the row. It knows no task, success or "
            "time of a result, has no backfill and no history by step, so it takes part only in "
            "writing and in size."
        )
    return Lineup(
        {contestant.name: contestant for contestant in found}, spec_backfill, tuple(notes)
    )


def overhead(look: Median, measurement: str, contestant: str) -> float:
    """What a contestant adds to no audit."""
    return look(measurement, contestant) - look(measurement, NONE)


def install_ours(conn: Connection) -> None:
    """Install step-audit from this checkout."""
    install(conn, load_sources())


def install_floor(conn: Connection) -> None:
    """Create the frozen table that the application writes itself."""
    _run(conn, (Path(__file__).parent / "floor.sql").read_bytes())


def _install_over_views(conn: Connection) -> None:
    install(conn, load_sources(), Target(schema="step_audit"))


def _run(conn: Connection, text: bytes) -> None:
    conn.execute(text)


_PEER_COLUMNS = {
    PEER: None,
    LEAN_PEER: ["workflow_step_transition_uuid", "workflow_step_uuid", "to_state"],
}


def _peer_sql(columns: list[str] | None) -> bytes:
    import auditrum  # noqa: PLC0415

    parts = [
        auditrum.generate_auditlog_table_sql(),
        auditrum.generate_audit_context_table_sql(),
        auditrum.generate_audit_attach_context_sql(),
        auditrum.generate_audit_current_user_id_sql(),
        auditrum.generate_jsonb_diff_function_sql(),
        auditrum.generate_trigger_sql(
            "tasker_workflow_step_transitions",
            track_only=columns,
            log_conditions="NEW.to_state IN "
            "('enqueued_for_orchestration', 'enqueued_as_error_for_orchestration')",
        ),
    ]
    return ";\n".join(part.rstrip().rstrip(";") for part in parts).encode()
