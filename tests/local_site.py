"""A real web server on the loopback address, with the faults that servers have."""

from __future__ import annotations

import contextlib
import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Site:
    """What the server has and how it behaves; what it was asked and what it sent."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cut_after: int | None = None  # bytes of a body before the connection is closed
    cuts: int = 0  # how many answers are cut
    statuses: list[int] = field(default_factory=list)  # errors that come first
    etag: str = '"one"'
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range
    sent: list[int] = field(default_factory=list)


@contextlib.contextmanager
def serving() -> Iterator[Site]:
    """Serve what is put into ``files`` of the Site until the block ends."""
    state = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.partition("?")[0]
            wanted = self.headers.get("Range")
            state.asked.append((path, wanted))
            if state.statuses:
                self.send_error(state.statuses.pop(0))
                return
            if path not in state.files:
                self.send_error(404)
                return
            body, start = state.files[path], 0
            fresh = self.headers.get("If-Range") in (None, state.etag)
            if wanted and state.ranges and fresh:
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
                if start >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            rest = body[start:]
            self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if state.cuts:
                state.cuts -= 1
                rest = rest[: state.cut_after]
            state.sent.append(len(rest))
            self.wfile.write(rest)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
