"""The cursor of a page as text that callers pass on and do not read."""

from __future__ import annotations

import base64
import hashlib
import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

from step_audit.read.audit import AuditCursor

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# Microseconds since the epoch, the sort key or the least number for none, the audit's key; after
# them a checksum.
_FORM = struct.Struct(">qq16s")
_NO_SORT_KEY = -(2**63)
_CHECKSUM_BYTES = 6


def encode_cursor(cursor: AuditCursor) -> str:
    """The cursor as URL-safe text."""
    microseconds = (cursor.recorded_at - _EPOCH) // _MICROSECOND
    sort_key = _NO_SORT_KEY if cursor.sort_key is None else cursor.sort_key
    packed = _FORM.pack(microseconds, sort_key, cursor.audit_uuid.bytes)
    checksum = hashlib.blake2b(packed, digest_size=_CHECKSUM_BYTES).digest()
    return base64.urlsafe_b64encode(packed + checksum).decode()


def decode_cursor(text: str) -> AuditCursor:
    """The cursor of such text.

    Raises:
        ValueError: the text is none that :func:`encode_cursor` gave.
    """
    try:
        packed = base64.urlsafe_b64decode(text)[:-_CHECKSUM_BYTES]
        microseconds, number, key = _FORM.unpack(packed)
        sort_key = None if number == _NO_SORT_KEY else number
        cursor = AuditCursor(_EPOCH + microseconds * _MICROSECOND, sort_key, UUID(bytes=key))
    except (ValueError, OverflowError, struct.error):
        cursor = None
    if cursor is None or encode_cursor(cursor) != text:
        raise ValueError("the cursor is not one that this service gave")
    return cursor
