"""The gate: instructions that an audited transition takes, beside what the frozen floor takes.

The floor is an application that writes the audit row itself, see ``benchmarks/floor.sql``. Counts
repeat within 1 % on any machine.
"""

from __future__ import annotations

import re

import pytest

from benchmarks.contestants import FLOOR, NONE, OURS, Contestant, install_floor, install_ours
from benchmarks.instructions import EACH, ONE, STARTED, TEXT, count_all, name
from step_audit.database import Connection
from step_audit.setup.sources import load_sources

AUDIT = "tasker_workflow_step_result_audit"

# What is added to the transition, divided by what the floor adds to a result, as measured on 18,
# and by how much runs may differ.
MEASURED = {
    name(TEXT, ONE): (1.085, 0.015),
    name(TEXT, EACH): (1.215, 0.008),
    name(STARTED, ONE): (0.067, 0.012),
    name(STARTED, EACH): (0.083, 0.017),
}

EXPRESSION, INDEX, KEY = "an expression more", "an index more", "an enforced key more"


def install_with_an_expression(conn: Connection) -> None:
    install_ours(conn)
    (source,) = (
        file.text for file in load_sources().functions if file.name == "create_step_result_audit"
    )
    more, times = re.subn(
        r"\nBEGIN\n", "\nBEGIN\n    v_action := lower(NEW.to_state::text);\n", source, count=1
    )
    assert times == 1
    conn.execute("SET search_path = public, pg_temp")
    conn.execute(more.encode())


def install_with(name: str, statement: str) -> Contestant:
    def install(conn: Connection) -> None:
        install_ours(conn)
        conn.execute(statement.encode())

    return Contestant(name, install)


@pytest.fixture(scope="module")
def costs() -> dict[str, dict[str, float]]:
    """By contestant and workload, what is added, divided by what the floor adds to a result."""
    contestants = {
        NONE: Contestant(NONE, lambda conn: None),
        FLOOR: Contestant(FLOOR, install_floor, by_itself=True),
        OURS: Contestant(OURS, install_ours),
        EXPRESSION: Contestant(EXPRESSION, install_with_an_expression),
        INDEX: install_with(INDEX, f"CREATE INDEX ON {AUDIT} (created_at)"),
        KEY: install_with(
            KEY,
            f"ALTER TABLE {AUDIT} ADD FOREIGN KEY (task_uuid) REFERENCES tasker_tasks (task_uuid)",
        ),
    }
    results = list(contestants.values())
    counted = {
        measurement.name: {key: samples[0] for key, samples in measurement.samples.items()}
        for measurement in (
            *count_all(18, results, [TEXT], together=False),
            *count_all(
                18,
                [contestants[key] for key in (NONE, OURS, EXPRESSION)],
                [STARTED],
                together=False,
            ),
        )
    }
    found: dict[str, dict[str, float]] = {}
    for key, contestant in contestants.items():
        for workload, how in ((TEXT, ONE), (TEXT, EACH), (STARTED, ONE), (STARTED, EACH)):
            counts, floors = counted[name(workload, how)], counted[name(TEXT, how)]
            if contestant.name in counts:
                added = counts[contestant.name] - counts[NONE]
                found.setdefault(key, {})[name(workload, how)] = added / (
                    floors[FLOOR] - floors[NONE]
                )
    return found


def excesses(costs: dict[str, float], usual: dict[str, float]) -> set[str]:
    """The workloads that cost more than usual, by more than runs differ."""
    return {
        workload
        for workload, cost in costs.items()
        if cost > usual[workload] + MEASURED[workload][1]
    }


def test_a_transition_takes_no_more_instructions_than_it_did(
    costs: dict[str, dict[str, float]],
) -> None:
    usual = {workload: measured for workload, (measured, _) in MEASURED.items()}
    assert excesses(costs[OURS], usual) == set(), costs
    assert costs[OURS].keys() == MEASURED.keys()


# An expression is prepared in every transaction; within one, it takes too little to be seen.
@pytest.mark.parametrize(
    ("more", "seen"),
    [
        (EXPRESSION, {name(TEXT, EACH)}),
        (INDEX, {name(TEXT, ONE), name(TEXT, EACH)}),
        (KEY, {name(TEXT, ONE), name(TEXT, EACH)}),
    ],
)
def test_what_is_added_is_seen(
    costs: dict[str, dict[str, float]], more: str, seen: set[str]
) -> None:
    assert excesses(costs[more], costs[OURS]) >= seen, costs
