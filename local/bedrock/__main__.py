"""`python -m local.bedrock`: the Bedrock emulator as a server of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
import time
from pathlib import Path

from .app import App
from .batch_io import Clients
from .clock import Clock
from .config import ConfigError
from .server import listen


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m local.bedrock", description=__doc__)
    parser.add_argument("--port", type=int, default=4567, help="0 takes a free port")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--s3-endpoint", default="", help="where batch files lie; empty: AWS")
    parser.add_argument("--events-endpoint", default="", help="where status changes are sent; empty: nowhere")
    parser.add_argument("--clock-rate", type=float, default=1.0, help="virtual seconds in a real one")
    parser.add_argument(
        "--clock-origin", type=float, help="epoch seconds at which virtual and real agree; default: now"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--config", type=Path, help="a JSON file, as PATCH /_control/config takes it")
    return parser.parse_args(argv)


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT; says where it listens in one JSON line on standard output."""
    document = json.loads(options.config.read_text()) if options.config else {}
    clients = Clients(options.s3_endpoint, options.events_endpoint)
    origin = time.time() if options.clock_origin is None else options.clock_origin
    app = App(document, Clock(options.clock_rate, origin), clients, options.seed)
    server, connections = await listen(app.handle, options.host, options.port)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"listening": f"http://{options.host}:{port}", "port": port}) + "\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, ended.set)
    await ended.wait()
    server.close()
    for connection in list(connections):
        connection.close()
    app.jobs.close()


def main() -> int:
    """Run; a wrong configuration ends with 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    options = arguments()
    try:
        asyncio.run(serve(options))
    except (ConfigError, json.JSONDecodeError) as exc:
        sys.stderr.write(f"configuration: {exc}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
