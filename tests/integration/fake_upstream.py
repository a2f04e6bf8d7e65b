"""A model server that misbehaves as told. Run as a real child: `python -I -S fake_upstream.py …`.

Standard library only, so that it starts in a few hundredths of a second.
"""

import argparse
import http.server
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--name", default="fake")
parser.add_argument("--ready-after", type=float, default=0.0, help="503 on /health until then")
parser.add_argument("--health", choices=["ok", "503", "hang"], default="ok")
parser.add_argument("--ignore-term", action="store_true")
parser.add_argument("--term-delay", type=float, default=0.0)
parser.add_argument("--exit-after", type=float, default=None)
parser.add_argument("--exit-code", type=int, default=0)
parser.add_argument("--say", default="", help="printed at start")
parser.add_argument("--flood", type=int, default=0, help="MB printed at start")
parser.add_argument(
    "--child", choices=["", "plain", "ignore-term", "setsid"], default="", help="a descendant"
)
parser.add_argument("--pids", default="", help="file that gets the pids, one a line")
parser.add_argument("--mark", default="", help="file that gets a line for each SIGTERM")
parser.add_argument("--slots", type=int, default=0, help="what /props says; 0: there is none")
parser.add_argument("--work", type=float, default=0.0, help="seconds an answer takes")
parser.add_argument("--noise", type=int, default=0, help="KiB printed per request")
parser.add_argument("--streams", action="store_true", help="answers stream requests with SSE")
args = parser.parse_args()
started = time.monotonic()


def on_term(_sig: int, _frame: object) -> None:
    if args.mark:
        with open(args.mark, "a") as file:
            file.write("term\n")
    if args.ignore_term:
        return
    if args.term_delay:
        time.sleep(args.term_delay)
    os._exit(0)


signal.signal(signal.SIGTERM, on_term)

pids = [os.getpid()]
if args.child:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN);" if args.child != "plain" else ""
    code = f"import signal,time;{ignore}time.sleep(120)"
    child = subprocess.Popen(  # it inherits our output pipe on purpose
        [sys.executable, "-I", "-S", "-c", code], start_new_session=args.child == "setsid"
    )
    pids.append(child.pid)
if args.pids:
    with open(args.pids + ".part", "w") as file:
        file.write("".join(f"{pid}\n" for pid in pids))
    os.rename(args.pids + ".part", args.pids)
if args.say:
    print(args.say, flush=True)
for _ in range(args.flood):
    os.write(1, b"x" * 1_048_575 + b"\n")
if args.exit_after is not None:

    def leave() -> None:
        time.sleep(args.exit_after)
        os._exit(args.exit_code)

    threading.Thread(target=leave, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path.startswith("/health"):
            if args.health == "hang":
                time.sleep(3600)
            loading = args.health == "503" or time.monotonic() - started < args.ready_after
            self.answer(503 if loading else 200, b"{}")
            return
        if self.headers.get("Upgrade"):  # takes it, and says nothing until the other side leaves
            self.send_response(101)
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", self.headers["Upgrade"])
            self.end_headers()
            self.rfile.read()
            self.close_connection = True
            return
        if self.path == "/props" and args.slots:
            self.answer(200, json.dumps({"total_slots": args.slots}).encode())
            return
        self.do_POST()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if args.noise:
            os.write(1, b"n" * (1024 * args.noise - 1) + b"\n")
        time.sleep(args.work)
        if args.streams and b'"stream":true' in body:
            self.stream(int(json.loads(body).get("max_tokens", 20)))
            return
        if b'"until"' in body:
            self.stream_until(json.loads(body)["until"])
            return
        seen = {
            "name": args.name,
            "pid": os.getpid(),
            "method": self.command,
            "path": self.path,
            "headers": list(self.headers.items()),
            "body": body.decode("utf-8", "replace"),
            "environ": {
                k: v for k, v in os.environ.items() if k.startswith(("FAKE_", "LLAMASWAP"))
            },
        }
        self.answer(200, json.dumps(seen).encode())

    def stream_until(self, path: str) -> None:
        """Send events until the file `path` exists, then the last one."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not os.path.exists(path):
            self.chunk(f"data: {os.getpid()}\n\n".encode())
            time.sleep(0.05)
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def stream(self, count: int) -> None:
        """A hundred events a second, chunked."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for number in range(count):
                event = b'data: {"n": %d}\n\n' % number
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                time.sleep(0.01)
            self.wfile.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        except OSError:
            self.close_connection = True  # the client left

    def log_message(self, format: str, *values: object) -> None:
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(
        self, request: "socket.socket | tuple[bytes, socket.socket]", client_address: object
    ) -> None:
        """A client that resets its connection has left; anything else is a defect of this file."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


if args.port:
    Server(("127.0.0.1", args.port), Handler).serve_forever()
while True:
    time.sleep(3600)
