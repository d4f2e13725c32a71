"""Replying with a JSON array of any length: in chunks, as the rows come from the database."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from step_audit.read.web.pool import Conn, Pool

T = TypeVar("T")
Chunks = AsyncGenerator[bytes]

_CHUNK_BYTES = 64 * 1024


async def reply_with_array(
    pool: Pool,
    records: Callable[[Conn], AsyncGenerator[T]],
    write: Callable[[T], bytes],
    exists: Callable[[Conn], Awaitable[bool]],
) -> Response:
    """Reply with what ``records`` gives, each as ``write`` does, if their subject ``exists``.

    It is sent in one piece where it is short.

    What fails before the first chunk is an error with a status of its own. What fails later cuts
    the connection, so nobody takes a part for the whole.
    """
    chunks = _chunks(pool, records, write, exists)
    first = await anext(chunks)
    # The last chunk, and no other, ends with the array.
    if first.endswith(b"]"):
        await chunks.aclose()
        return Response(first, media_type="application/json")
    return _ChunkedResponse(first, chunks)


class _ChunkedResponse(StreamingResponse):
    """Closes ``chunks`` at its end, even where the caller has left before."""

    def __init__(self, first: bytes, chunks: Chunks) -> None:
        super().__init__(_prepended(first, chunks), media_type="application/json")
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._chunks):
            await super().__call__(scope, receive, send)


async def _prepended(first: bytes, chunks: Chunks) -> Chunks:
    yield first
    async for chunk in chunks:
        yield chunk


async def _chunks(
    pool: Pool,
    records: Callable[[Conn], AsyncGenerator[T]],
    write: Callable[[T], bytes],
    exists: Callable[[Conn], Awaitable[bool]],
) -> Chunks:
    chunk = bytearray(b"[")
    separator = b""
    async with pool.reading() as conn:
        if not await exists(conn):
            raise HTTPException(404)
        async with aclosing(records(conn)) as found:
            async for record in found:
                chunk += separator + write(record)
                separator = b",\n"
                if len(chunk) >= _CHUNK_BYTES:
                    yield bytes(chunk)
                    chunk.clear()
    yield bytes(chunk + b"]")
