"""`python -m llamaswap.demo`: run one built-in model server."""

from __future__ import annotations

import argparse

import trio

from llamaswap.demo.server import ModelServer


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m llamaswap.demo", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--load-seconds", type=float, default=0.0, help="503 on /health until then")
    parser.add_argument("--rate", type=float, default=50.0, help="tokens per second; 0: at once")
    options = parser.parse_args()
    server = ModelServer(options.model, options.load_seconds, options.rate)
    trio.run(server.serve, options.host, options.port)


if __name__ == "__main__":
    main()
