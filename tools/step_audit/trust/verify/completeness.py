"""Whether two sets of rows are the same, without sorting or holding either.

Each row's key is hashed with a random key of this verification, so that nobody can have prepared
rows whose hashes cancel out, and the hashes are added up in buckets. Equal sums: equal sets.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

BUCKETS = 256


def make_key() -> bytes:
    """A random key for the sums of one verification."""
    return secrets.token_bytes(32)


@dataclass
class Sums:
    """How many rows each bucket has, and the sum of their hashes."""

    key: bytes
    rows: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    sums: list[int] = field(default_factory=lambda: [0] * BUCKETS)

    def add(self, row: bytes) -> int:
        """Add a row by its key; gives its bucket."""
        digest = hashlib.sha256(self.key + row).digest()
        bucket = digest[0]
        self.rows[bucket] += 1
        self.sums[bucket] += int.from_bytes(digest)
        return bucket

    def merge(self, other: Sums) -> None:
        """Add the rows of ``other``."""
        for bucket in range(BUCKETS):
            self.rows[bucket] += other.rows[bucket]
            self.sums[bucket] += other.sums[bucket]

    def bucket_of(self, row: bytes) -> int:
        """The bucket that a row belongs to."""
        return hashlib.sha256(self.key + row).digest()[0]

    @property
    def total(self) -> int:
        """How many rows there are."""
        return sum(self.rows)

    def differing(self, other: Sums, at_once: int) -> Iterator[frozenset[int]]:
        """The buckets in which the two differ, in groups of about ``at_once`` rows."""
        group: set[int] = set()
        rows = 0
        for bucket in range(BUCKETS):
            mine = (self.rows[bucket], self.sums[bucket])
            if mine == (other.rows[bucket], other.sums[bucket]):
                continue
            group.add(bucket)
            rows += self.rows[bucket] + other.rows[bucket]
            if rows >= at_once:
                yield frozenset(group)
                group, rows = set(), 0
        if group:
            yield frozenset(group)
