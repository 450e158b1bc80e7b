"""A server that says what it was told to, byte by byte: for clients that meet faults."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Script(NamedTuple):
    """One answer. `cut` closes the connection without ending the chunked body."""

    status: int = 200
    headers: Mapping[str, str] = {"content-type": "application/json"}
    pieces: tuple[bytes, ...] = (b"{}",)
    cut: bool = False


class Asked(NamedTuple):
    """One request as it arrived."""

    method: str
    path: str
    authorization: str | None
    body: bytes


class ScriptedServer(NamedTuple):
    """Its address, and what it was asked so far."""

    url: str
    asked: list[Asked]


@contextmanager
def scripted_server(scripts: Mapping[str, Script]) -> Iterator[ScriptedServer]:
    """Answers each path by its script, others with 404."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            asked.append(Asked(self.command, self.path, self.headers.get("authorization"), body))
            script = scripts.get(self.path, Script(404))
            self.send_response(script.status)
            for name, value in script.headers.items():
                self.send_header(name, value)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in script.pieces:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            if script.cut:
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = _answer  # the standard library's names

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test knows what it asked."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield ScriptedServer(f"http://127.0.0.1:{server.server_address[1]}", asked)
        finally:
            server.shutdown()
            thread.join()
