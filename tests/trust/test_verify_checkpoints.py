"""A log that is not the one that was signed: cut off, written anew, or lost by a failover."""

from __future__ import annotations

import pytest

from step_audit.trust.checkpoint import Checkpoint
from step_audit.trust.verify import Source
from step_audit.trust.verify.checkpoints import compare_checkpoint

ROOT, OTHER = b"r" * 32, b"o" * 32
SYSTEM = 7412345678901234567


def source(system: str = str(SYSTEM), timeline: str = "4") -> Source:
    return Source("d", "s", "r", system_identifier=system, timeline=timeline)


@pytest.mark.parametrize(
    ("size", "root", "where", "kind", "field"),
    [
        (9, ROOT, source(), None, None),
        (12, ROOT, source(timeline="3"), None, None),
        (
            7,
            None,
            source(),
            "lost by failover",
            f"at least 2 records, timeline 3 to 4 of system {SYSTEM}",
        ),
        (
            9,
            OTHER,
            source(),
            "lost by failover",
            f"at most 9 records, timeline 3 to 4 of system {SYSTEM}",
        ),
        # The same timeline, an older one, another server, and one that does not say.
        (7, None, source(timeline="3"), "truncated log", None),
        (7, None, source(timeline="2"), "truncated log", None),
        (7, None, source(system="1"), "truncated log", None),
        (9, OTHER, source(timeline="unknown"), "rewritten log", None),
        (9, OTHER, source(system="unknown"), "rewritten log", None),
    ],
)
def test_a_failover_explains_only_what_it_can(
    size: int, root: bytes | None, where: Source, kind: str | None, field: str | None
) -> None:
    signed = Checkpoint("example.com/audit", 9, ROOT, SYSTEM, 3)
    found = list(compare_checkpoint(signed, size, root, where))
    assert [(each.finding, each.field) for each in found] == ([(kind, field)] if kind else [])
    # What says nothing of its server is explained by nothing.
    bare = Checkpoint("example.com/audit", 9, ROOT)
    kinds = {each.finding for each in compare_checkpoint(bare, size, root, where)}
    assert kinds <= {"truncated log", "rewritten log"}
    assert bool(kinds) is bool(kind)
