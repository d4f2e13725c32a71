"""The canonical bytes of one sealed record: the leaf of the log."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, NamedTuple

from step_audit.errors import TrustError
from step_audit.trust.encoding import read_json

VERSION = "step-audit 2"

RESULT = "result"
UNPRINTABLE = "unprintable result"
KINDS = (RESULT, UNPRINTABLE)
"""What a leaf is of; the metadata of an unprintable result is too large for a text."""

SALT_SIZE = 16

Scalar = str | int | bool | None

_HASH = re.compile(r"[0-9a-f]{64}")


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
    Column("execution_time_ms", (int, NoneType)),
    Column("created_at", _TEXT),
    Column("updated_at", _TEXT),
    Column("recorded_xid", (int,)),
)
"""The audit row, in the order of the leaf and of the table; ``recorded_by`` is committed to."""

TRANSITION_COLUMNS = (
    Column("workflow_step_uuid", _TEXT),
    Column("from_state", _TEXT_OR_NULL),
    Column("to_state", _TEXT),
    Column("created_at", _TEXT_OR_NULL),
)
"""The transition that the audit row points to, in the order of the leaf; ``metadata`` likewise."""

_SIZE = 4 + len(AUDIT_COLUMNS) + len(TRANSITION_COLUMNS)


@dataclass(frozen=True, slots=True)
class Leaf:
    r"""One sealed record; ``audit`` and ``transition`` hold its columns by name.

    Its text is a JSON array of ``VERSION``, the kind, the index in the log, the ``AUDIT_COLUMNS``,
    the ``TRANSITION_COLUMNS`` and the commitment, as PostgreSQL's ``json_build_array`` writes it:
    ``, `` between elements; in strings ``\"``, ``\\``, ``\b``, ``\f``, ``\n``, ``\r``, ``\t``,
    ``\u00xx`` for the other characters below 0x20, and all else as it is; UUIDs in lower case;
    timestamps as ISO 8601 without zone, so they are text here too. The leaf is that text in UTF-8.

    ``commitment`` is what :meth:`Opening.commitment` gives for the private part of the record.

    Raises:
        TrustError: a column is missing, unknown, or not of its type.
    """

    kind: str
    index: int
    audit: Mapping[str, Scalar]
    transition: Mapping[str, Scalar]
    commitment: str

    def __post_init__(self) -> None:
        """Check that every column is there, and of its type."""
        if self.kind not in KINDS:
            raise _unreadable(f"it is of an unknown kind, {self.kind!r:.40}")
        _check("leaf_index", self.index, (int,))
        if self.index < 0:
            raise _unreadable(f"leaf_index is {self.index}")
        _check_columns("audit", self.audit, AUDIT_COLUMNS)
        _check_columns("transition", self.transition, TRANSITION_COLUMNS)
        if not isinstance(self.commitment, str) or not _HASH.fullmatch(self.commitment):
            raise _unreadable("commitment is not a SHA-256 in hexadecimal digits")

    def to_text(self) -> str:
        """The canonical text."""
        elements = [
            VERSION,
            self.kind,
            self.index,
            *(self.audit[column.name] for column in AUDIT_COLUMNS),
            *(self.transition[column.name] for column in TRANSITION_COLUMNS),
            self.commitment,
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
        _, kind, index, *values, commitment = elements
        audit = _by_name(AUDIT_COLUMNS, values[: len(AUDIT_COLUMNS)])
        transition = _by_name(TRANSITION_COLUMNS, values[len(AUDIT_COLUMNS) :])
        leaf = cls(kind, index, audit, transition, commitment)
        if leaf.to_text() != text:
            raise _unreadable("it is not written in its canonical form")
        return leaf


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens a leaf's commitment: its salt, and the private part of the record.

    Attributes:
        salt: 16 bytes.
        recorded_by: the audit row's.
        payload: the transition's ``metadata`` as ``jsonb`` writes it, None for NULL; of an
            unprintable result its size and a hash.

    Raises:
        TrustError: one is not of its type.
    """

    salt: bytes
    recorded_by: str | None
    payload: str | None

    def __post_init__(self) -> None:
        """Check each part."""
        if len(self.salt) != SALT_SIZE:
            raise _unreadable(f"its salt does not have {SALT_SIZE} bytes")
        _check("recorded_by", self.recorded_by, _TEXT_OR_NULL)
        _check("payload", self.payload, _TEXT_OR_NULL)
        if self.payload == "":
            raise _unreadable("payload is empty, which no JSON is")

    def commitment(self) -> str:
        """The commitment, in hexadecimal digits.

        SHA-256 of the salt, ``recorded_by`` as JSON, a newline, and the payload.
        """
        recorded_by = json.dumps(self.recorded_by, ensure_ascii=False)
        private = f"{recorded_by}\n{self.payload or ''}".encode()
        return hashlib.sha256(self.salt + private).hexdigest()


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
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise _unreadable(f"{name} has half a surrogate pair") from error


def _unreadable(reason: str) -> TrustError:
    return TrustError(
        f"the sealed record cannot be read: {reason}; nothing was checked. Get it anew."
    )
