"""The canonical bytes of one sealed record: the leaf of the log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, NamedTuple

from step_audit.errors import TrustError
from step_audit.trust.encoding import read_json

VERSION = "step-audit result 1"

Scalar = str | int | bool | None


class Column(NamedTuple):
    """A sealed column and the types that its JSON value can have."""

    name: str
    types: tuple[type, ...]


_TEXT = (str,)
_TEXT_OR_NULL = (str, NoneType)

AUDIT_COLUMNS = (
    Column("workflow_step_result_audit_uuid", _TEXT),
    Column("workflow_step_uuid", _TEXT),
    Column("workflow_step_transition_uuid", _TEXT),
    Column("task_uuid", _TEXT),
    Column("recorded_at", _TEXT),
    Column("worker_uuid", _TEXT_OR_NULL),
    Column("correlation_id", _TEXT_OR_NULL),
    Column("success", (bool,)),
    Column("backfilled", (bool,)),
    Column("recorded_by", _TEXT_OR_NULL),
    Column("execution_time_ms", (int, NoneType)),
    Column("created_at", _TEXT),
    Column("updated_at", _TEXT),
    Column("recorded_xid", (int,)),
)
"""The audit row, all of it, in the order of the leaf and of the table."""

TRANSITION_COLUMNS = (
    Column("workflow_step_uuid", _TEXT),
    Column("from_state", _TEXT_OR_NULL),
    Column("to_state", _TEXT),
    Column("created_at", _TEXT_OR_NULL),
    Column("metadata_sha256", _TEXT_OR_NULL),
)
"""What is sealed of the transition that the audit row points to, in the order of the leaf.

``metadata_sha256`` is :func:`metadata_hash` of its ``metadata``, NULL where that is NULL.
"""

_SIZE = 2 + len(AUDIT_COLUMNS) + len(TRANSITION_COLUMNS)


@dataclass(frozen=True, slots=True)
class Leaf:
    r"""One sealed record; ``audit`` and ``transition`` hold its columns by name.

    Its text is a JSON array of ``VERSION``, the index in the log, the ``AUDIT_COLUMNS`` and the
    ``TRANSITION_COLUMNS``, as PostgreSQL's ``json_build_array`` writes it: ``, `` between elements;
    in strings ``\"``, ``\\``, ``\b``, ``\f``, ``\n``, ``\r``, ``\t``, ``\u00xx`` for the
    other characters below 0x20, and all else as it is; UUIDs in lower case; timestamps as ISO 8601
    without zone, so they are text here too. The leaf is that text in UTF-8.

    Raises:
        TrustError: a column is missing, unknown, or not of its type.
    """

    index: int
    audit: Mapping[str, Scalar]
    transition: Mapping[str, Scalar]

    def __post_init__(self) -> None:
        """Check that every column is there, and of its type."""
        _check("leaf_index", self.index, (int,))
        if self.index < 0:
            raise _unreadable(f"leaf_index is {self.index}")
        _check_columns("audit", self.audit, AUDIT_COLUMNS)
        _check_columns("transition", self.transition, TRANSITION_COLUMNS)

    def to_text(self) -> str:
        """The canonical text."""
        elements = [
            VERSION,
            self.index,
            *(self.audit[column.name] for column in AUDIT_COLUMNS),
            *(self.transition[column.name] for column in TRANSITION_COLUMNS),
        ]
        return json.dumps(elements, ensure_ascii=False)

    def to_bytes(self) -> bytes:
        """The leaf: what is hashed."""
        return self.to_text().encode()

    @classmethod
    def from_text(cls, text: str) -> Leaf:
        """Read the canonical text of a leaf.

        Raises:
            TrustError: it is something else, or written otherwise.
        """
        try:
            elements = read_json(text)
        except ValueError as error:
            raise _unreadable(str(error)) from error
        if not isinstance(elements, list) or len(elements) != _SIZE or elements[0] != VERSION:
            raise _unreadable(f"it is no array of '{VERSION}' and {_SIZE - 1} values")
        _, index, *values = elements
        audit = _by_name(AUDIT_COLUMNS, values[: len(AUDIT_COLUMNS)])
        leaf = cls(index, audit, _by_name(TRANSITION_COLUMNS, values[len(AUDIT_COLUMNS) :]))
        if leaf.to_text() != text:
            raise _unreadable("it is not written in its canonical form")
        return leaf


def metadata_hash(metadata: str) -> str:
    """Hexadecimal SHA-256 of the text of a transition's ``metadata``, as ``jsonb`` writes it.

    Raises:
        TrustError: it has a character that no text in a database can have.
    """
    return hashlib.sha256(_encode("metadata", metadata)).hexdigest()


def _by_name(columns: tuple[Column, ...], values: list[Any]) -> dict[str, Scalar]:
    return {column.name: value for column, value in zip(columns, values, strict=True)}


def _check_columns(of: str, values: object, columns: tuple[Column, ...]) -> None:
    names = [column.name for column in columns]
    if not isinstance(values, Mapping) or sorted(values) != sorted(names):
        raise _unreadable(f"{of} does not have just the columns {', '.join(names)}")
    for column in columns:
        _check(f"{of}.{column.name}", values[column.name], column.types)


def _check(name: str, value: object, types: tuple[type, ...]) -> None:
    # Not isinstance, for which True is a whole number.
    if type(value) not in types:
        named = {str: "text", int: "a whole number", bool: "true or false", NoneType: "null"}
        raise _unreadable(f"{name} is not {' or '.join(named[each] for each in types)}")
    if isinstance(value, str):
        _encode(name, value)


def _encode(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise _unreadable(f"{name} has half a surrogate pair") from error


def _unreadable(reason: str) -> TrustError:
    return TrustError(
        f"the sealed record cannot be read: {reason}; nothing was checked. Get it anew."
    )
