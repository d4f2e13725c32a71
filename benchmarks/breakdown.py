"""What each part of an audit row costs: the floor without one of them at a time.

Then what a trigger costs that does less than ours, and what ours would cost otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks import events
from benchmarks.bench import Bench, Target, template_name
from benchmarks.contestants import FLOOR, NONE, OURS, SPEC
from benchmarks.measure import Measurement, interleave
from step_audit.database import Connection, connect

PARTS = "single row, 1 KB text: the floor without one part"
TRIGGERS = "single row, 1 KB text: what a trigger costs"
BARE = "all of them (a bare table)"
EMPTY = "empty trigger"
EMPTY_PINNED = "empty trigger, pinned and SECURITY DEFINER"
PINNED_ROW = "row without reading the event, pinned and SECURITY DEFINER"
OTHERWISE = "single row, 1 KB text: ours otherwise"
OTHERWISE_TOGETHER = "1,000 rows in one statement, 1 KB text: ours otherwise"
TWO_KEYS_LESS = "step-audit without fk_audit_step and fk_audit_task"
BY_STATEMENT = "step-audit by a trigger for each statement"

_GROUPS = {"f": "all foreign keys", "p": "both unique keys", "u": "both unique keys"}

_AUDIT = "tasker_workflow_step_result_audit"
_ROW = (
    "INSERT INTO tasker_workflow_step_result_audit (workflow_step_uuid, "
    "workflow_step_transition_uuid, task_uuid, success, execution_time_ms) VALUES "
    "(NEW.workflow_step_uuid, NEW.workflow_step_transition_uuid, {task}, TRUE, 12);"
)
_LOOK_UP = (
    "(SELECT task_uuid FROM tasker_workflow_steps "
    "WHERE workflow_step_uuid = NEW.workflow_step_uuid)"
)

# Bodies of ever fuller triggers, and the options of their functions.
_PINNED = "SECURITY DEFINER SET search_path = public, pg_temp"
_SMALLER = {
    EMPTY: ("", ""),
    EMPTY_PINNED: ("", _PINNED),
    "row without reading the event": (_ROW.format(task=_LOOK_UP), ""),
    PINNED_ROW: (
        _ROW.format(task=_LOOK_UP),
        _PINNED,
    ),
    "reading the event, no row": (
        "PERFORM read_step_result(NEW.to_state::text, NEW.metadata);",
        _PINNED,
    ),
}

# What was thought of and not done: each costs a promise, or the single row.
_ALTERNATIVES = {
    TWO_KEYS_LESS: (
        f"ALTER TABLE {_AUDIT} DROP CONSTRAINT fk_audit_step, DROP CONSTRAINT fk_audit_task"
    ),
    BY_STATEMENT: Path(__file__).with_name("statement_trigger.sql").read_text(encoding="utf-8"),
}


def measure(bench: Bench) -> list[Measurement]:
    """Measure the floor with each part taken away, smaller triggers, and the alternatives."""
    return [_measure_parts(bench), _measure_triggers(bench), *_measure_alternatives(bench)]


def _measure_parts(bench: Bench) -> Measurement:
    with bench.targets(NONE, FLOOR) as targets, ExitStack() as stack:
        changes = _changes(targets[FLOOR].conn)
        variants = dict(targets)
        for number, (part, statements) in enumerate(changes.items()):
            dsn = bench.clone(template_name(bench.lineup.contestants[FLOOR]), f"part_{number}")
            conn = stack.enter_context(connect(dsn))
            for statement in statements:
                conn.execute(statement.encode())
            variants[part] = Target(conn, dsn, by_itself=True, steps=bench.scale.steps)
        samples = interleave(_works(bench, variants), bench.scale.rounds)
    for number in range(len(changes)):
        bench.drop(f"part_{number}")
    return Measurement(PARTS, "µs per transition", samples)


def _changes(conn: Connection) -> dict[str, list[str]]:
    """What takes each part away, by its name."""
    constraints = conn.execute(
        "SELECT conname, contype::text AS contype FROM pg_constraint "
        "WHERE conrelid = %s::regclass AND contype IN ('f', 'u', 'p') ORDER BY contype, conname",
        (_AUDIT,),
    ).fetchall()
    indexes = conn.execute(
        "SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON i.indexrelid = c.oid "
        "WHERE i.indrelid = %s::regclass "
        "AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = c.oid) "
        "ORDER BY c.relname",
        (_AUDIT,),
    ).fetchall()
    defaults = conn.execute(
        "SELECT attname, format_type(atttypid, NULL) AS type FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND atthasdef AND NOT attisdropped ORDER BY attnum",
        (_AUDIT,),
    ).fetchall()
    changes: dict[str, list[str]] = {}
    groups: dict[str, list[str]] = {}
    for row in constraints:
        label = row["conname"]
        changes[label] = [f"ALTER TABLE {_AUDIT} DROP CONSTRAINT {label} CASCADE"]
        groups.setdefault(_GROUPS[row["contype"]], []).extend(changes[label])
    for row in indexes:
        changes[row["relname"]] = [f"DROP INDEX {row['relname']}"]
        groups.setdefault("all other indexes", []).extend(changes[row["relname"]])
    constants = {
        "uuid": "gen_random_uuid()",
        "boolean": "FALSE",
        "bigint": "1",
        "timestamp without time zone": "'2026-01-01'",
    }
    for row in defaults:
        label = f"default of {row['attname']}"
        if row["type"] == "uuid":
            label += " (random instead)"
        changes[label] = [
            f"ALTER TABLE {_AUDIT} ALTER {row['attname']} SET DEFAULT {constants[row['type']]}"
        ]
        groups.setdefault("all defaults", []).extend(changes[label])
    whole = [statement for statements in changes.values() for statement in statements]
    return changes | groups | {BARE: whole}


def _measure_triggers(bench: Bench) -> Measurement:
    with bench.targets(NONE, FLOOR, OURS) as targets, ExitStack() as stack:
        variants = dict(targets)
        for number, (label, (body, options)) in enumerate(_SMALLER.items()):
            dsn = bench.clone(template_name(bench.lineup.contestants[OURS]), f"trigger_{number}")
            conn = stack.enter_context(connect(dsn))
            conn.execute(
                "CREATE OR REPLACE FUNCTION create_step_result_audit() RETURNS trigger "
                f"LANGUAGE plpgsql {options} AS $$ BEGIN {body} RETURN NULL; END; $$".encode()
            )
            variants[label] = Target(conn, dsn, by_itself=False, steps=bench.scale.steps)
        samples = interleave(_works(bench, variants), bench.scale.rounds)
    for number in range(len(_SMALLER)):
        bench.drop(f"trigger_{number}")
    return Measurement(TRIGGERS, "µs per transition", samples)


def _measure_alternatives(bench: Bench) -> Iterator[Measurement]:
    many = min(1000, bench.scale.steps)
    event = events.name("text", "1 KB")
    with bench.targets(NONE, FLOOR, SPEC, OURS) as targets, ExitStack() as stack:
        variants = dict(targets)
        for number, (label, statements) in enumerate(_ALTERNATIVES.items()):
            dsn = bench.clone(template_name(bench.lineup.contestants[OURS]), f"otherwise_{number}")
            conn = stack.enter_context(connect(dsn))
            conn.execute(statements.encode())
            variants[label] = Target(conn, dsn, by_itself=False, steps=bench.scale.steps)
        samples = interleave(_works(bench, variants), bench.scale.rounds)
        yield Measurement(OTHERWISE, "µs per transition", samples)
        together = {
            label: (lambda target=target: target.write_together(event, events.RESULT, many))
            for label, target in variants.items()
        }
        samples = interleave(together, bench.scale.rounds // 2)
        yield Measurement(OTHERWISE_TOGETHER, "µs per transition", samples)
    for number in range(len(_ALTERNATIVES)):
        bench.drop(f"otherwise_{number}")


def _works(bench: Bench, targets: dict[str, Target]) -> dict[str, Callable[[], float]]:
    event = events.name("text", "1 KB")

    def work(target: Target) -> Callable[[], float]:
        return lambda: target.write_each(event, events.RESULT, bench.scale.statements)

    return {label: work(target) for label, target in targets.items()}
