"""Makes a loopback server reachable at one more address of this machine, for containers (`local up --docker`)."""

from __future__ import annotations

import socket
import socketserver
import threading
from urllib.parse import urlsplit

from local.errors import CloudError

_CHUNK_BYTES = 65_536


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while chunk := source.recv(_CHUNK_BYTES):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            end.close()


def forward(address: str, url: str) -> None:
    """Listens at `address` on the port of `url` and passes every connection on, in background threads.

    Raises CloudError when the address is not one of this machine's.
    """
    host, port = urlsplit(url).hostname, urlsplit(url).port

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((host, port)) as upstream:
                back = threading.Thread(target=_pump, args=(upstream, self.request), daemon=True)
                back.start()
                _pump(self.request, upstream)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True  # a cloud with a fixed port may follow upon another
        daemon_threads = True

    try:
        server = Server((address, port or 80), Handler)
    except OSError as error:
        raise CloudError(f"cannot listen on {address}:{port} ({error.strerror}): is Docker's bridge up?") from error
    threading.Thread(target=server.serve_forever, name=f"forward-{port}", daemon=True).start()
