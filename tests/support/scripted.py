"""An HTTP server that replies by a script: what stands between a client and the service."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Script:
    """Replies to give, the last of them again and again, and the requests that came.

    A status of None gives no reply until the server ends.
    """

    replies: list[tuple[int | None, bytes]]
    address: str = ""
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def next_reply(self) -> tuple[int | None, bytes]:
        return self.replies[min(len(self.paths), len(self.replies)) - 1]


@contextmanager
def scripted(*replies: tuple[int | None, bytes]) -> Iterator[Script]:
    """Serve the replies in turn."""
    script = Script(list(replies))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script.paths.append(self.path)
            script.headers.append({name.lower(): value for name, value in self.headers.items()})
            status, body = script.next_reply()
            if status is None:
                script.ended.wait()
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield script
        finally:
            script.ended.set()
            server.shutdown()
            thread.join()
