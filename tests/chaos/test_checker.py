"""The checker, given journals that are written out here: no servers."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tests.chaos.checker import EITHER, KEPT, LOST, Counts, check_results, fate, must_be_prepared
from tests.chaos.journal import ACKNOWLEDGED, FAILED, IN_DOUBT, UNKNOWN, Entry
from tests.chaos.plan import Operation, draw_plan
from tests.chaos.run import run_seed

NOTHING, ONCE = (0, 0), (1, 1)


@pytest.mark.parametrize(
    ("before", "after", "generation", "flushed", "left"),
    [
        (10, 20, 0, [], KEPT),
        (10, 20, 0, [20], KEPT),
        (10, 20, 0, [19], EITHER),
        (10, 20, 0, [10], LOST),
        (10, None, 0, [500], EITHER),
        (10, None, 0, [], KEPT),
        # Written after the first failover, so that only the second could lose it.
        (10, 20, 1, [5], KEPT),
        (10, 20, 1, [5, 9], LOST),
        (10, 20, 0, [30, 9], LOST),
    ],
)
def test_a_failover_keeps_what_the_standby_had_flushed(
    before: int, after: int | None, generation: int, flushed: list[int], left: str
) -> None:
    assert fate(before, after, generation, flushed) == left


@pytest.mark.parametrize(
    ("outcome", "counts", "right"),
    [
        (ACKNOWLEDGED, [ONCE, ONCE], True),
        (ACKNOWLEDGED, [NOTHING, NOTHING], False),
        (ACKNOWLEDGED, [ONCE, (1, 0)], False),
        (ACKNOWLEDGED, [ONCE, (1, 2)], False),
        (FAILED, [NOTHING, NOTHING], True),
        (FAILED, [ONCE, ONCE], False),
        (IN_DOUBT, [ONCE, ONCE], False),
        (UNKNOWN, [NOTHING, NOTHING], True),
        (UNKNOWN, [ONCE, ONCE], True),
        (UNKNOWN, [ONCE, NOTHING], False),
        (UNKNOWN, [(0, 1), (0, 1)], False),
    ],
)
def test_each_result_is_there_once_with_its_audit_row_or_not_at_all(
    outcome: str, counts: list[tuple[int, int]], right: bool
) -> None:
    entry = Entry(_operation(results=2), 0, outcome, before=10, after=20)
    found = dict(zip(entry.operation.kept_results, counts, strict=True))
    assert (_check(entry, found) == []) is right


def test_what_a_failover_has_lost_is_not_there_and_what_it_kept_is() -> None:
    entry = Entry(_operation(results=2), 0, ACKNOWLEDGED, before=10, after=20)
    kept = dict.fromkeys(entry.operation.kept_results, ONCE)
    for flushed, there, gone in ([20], True, False), ([15], True, True), ([10], False, True):
        assert (_check(entry, kept, flushed) == []) is there
        assert (_check(entry, {}, flushed) == []) is gone
    # Nothing that waited for the standby may be lost.
    assert _check(entry, {}, [10], synchronous=True)


def test_what_is_undone_or_written_by_nobody_is_wrong() -> None:
    entry = Entry(_operation(results=1), 0, ACKNOWLEDGED, before=10, after=20)
    found = dict.fromkeys(entry.operation.kept_results, ONCE)
    undone = dict.fromkeys(entry.operation.undone_results, ONCE)
    (problem,) = _check(entry, found | undone)
    assert "undone" in problem
    strange = dict.fromkeys(_operation(results=3).kept_results, ONCE)
    assert all("nobody wrote it" in problem for problem in _check(entry, found | strange))
    assert len(_check(entry, found | strange)) == 3


def test_what_is_prepared_stays_prepared() -> None:
    entry = Entry(_operation(results=1), 0, IN_DOUBT, before=10, after=20, prepared=True)
    entry.operation = replace(entry.operation, kind="two-phase")
    assert must_be_prepared(entry, [])
    assert must_be_prepared(entry, [20])
    assert not must_be_prepared(entry, [19])
    assert not must_be_prepared(replace(entry, prepared=False), [])
    rolled_back = replace(entry.operation, kind="two-phase rolled back")
    assert not must_be_prepared(replace(entry, operation=rolled_back), [])


def test_a_seed_is_one_plan_and_its_first_rounds_begin_it() -> None:
    assert draw_plan(7) == draw_plan(7) != draw_plan(8)
    assert draw_plan(7, rounds=2).rounds == draw_plan(7).rounds[:2]


def test_a_failure_says_how_to_replay_it(server_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as failed:
        run_seed(7, server_folder / "missing" / "folder", tmp_path / "missing")
    assert any("STEP_AUDIT_CHAOS_SEED=7 tox -e chaos" in note for note in failed.value.__notes__)


@cache
def _operation(results: int) -> Operation:
    operations = (each for now in draw_plan(1).rounds for of in now.operations for each in of)
    return next(each for each in operations if len(each.kept_results) == results)


def _check(
    entry: Entry, found: Counts, flushed: list[int] | None = None, synchronous: bool = False
) -> list[str]:
    return list(check_results([entry], found, flushed or [], synchronous))
