"""The model server of the cases: echoes, or misbehaves as the query's `mode` says.

A real child, `python -I -S model_server.py --port P --name N`. Standard library only, so that it
starts in a few hundredths of a second. Source: http-api §10.1.
"""

import argparse
import base64
import gzip
import hashlib
import http.server
import json
import os
import socket
import socketserver
import struct
import sys
import time
from urllib.parse import parse_qs

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--name", default="U")
parser.add_argument("--delay", type=float, default=0.0)
parser.add_argument("--exit", type=int, default=None)
args = parser.parse_args()

print(args.name, "starting", flush=True)
time.sleep(args.delay)
if args.exit is not None:
    sys.exit(args.exit)

USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 4,
    "prompt_tokens_details": {"cached_tokens": 2},
}
TIMINGS = {
    "prompt_n": 20,
    "predicted_n": 50,
    "prompt_per_second": 100.0,
    "predicted_per_second": 40.0,
    "prompt_ms": 200,
    "predicted_ms": 1250,
    "cache_n": 8,
    "draft_n": 9,
    "draft_n_accepted": 4,
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target = ""

    def handle_any(self) -> None:
        self.target = self.requestline.split(" ")[1]  # self.path has lost a leading slash
        path, _, query = self.target.partition("?")
        if path.endswith("/health") and self.command == "GET":
            self.answer(200, b"OK", "text/plain")
            return
        if "websocket" in (self.headers.get("Upgrade") or "").lower():
            self.echo_websocket()
            return
        self.read_body()
        fields = {key: values[0] for key, values in parse_qs(query).items()}
        mode = fields.get("mode", "")
        act = getattr(self, f"mode_{mode}", None)
        if act is None:
            self.answer(200, json.dumps(self.seen()).encode())
        else:
            act(fields)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def read_body(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            while size := int(self.rfile.readline(), 16):
                self.body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

    def seen(self) -> dict[str, object]:
        return {
            "up": args.name,
            "method": self.command,
            "path": self.target,
            "headers": list(self.headers.items()),
            "body": self.body.decode("latin-1"),
        }

    def answer(
        self, status: int, body: bytes, kind: str = "application/json", *more: tuple[str, str]
    ) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), *more):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def event(self, text: str) -> None:
        self.chunk("data: " + json.dumps({"choices": [{"delta": {"content": text}}]}) + "\n\n")

    def mode_sse(self, fields: dict[str, str]) -> None:
        self.begin_stream()
        for number in range(5):
            self.event(f"t{number}")
            time.sleep(0.2)
        usage = {"prompt_tokens": 11, "completion_tokens": 5}
        self.chunk("data: " + json.dumps({"choices": [], "usage": usage}) + "\n\n")
        self.chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def mode_sselong(self, fields: dict[str, str]) -> None:
        self.begin_stream()
        try:
            for number in range(200):
                self.event(f"t{number}")
                time.sleep(0.1)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            print(args.name, "write failed", flush=True)
            self.close_connection = True

    def mode_slow(self, fields: dict[str, str]) -> None:
        time.sleep(float(fields.get("t", "1")))
        self.answer(200, json.dumps(self.seen()).encode())

    def mode_reset(self, fields: dict[str, str]) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def mode_abort(self, fields: dict[str, str]) -> None:
        self.begin_stream()
        self.event("t0")
        self.close_connection = True

    def mode_die(self, fields: dict[str, str]) -> None:
        os._exit(1)

    def mode_err(self, fields: dict[str, str]) -> None:
        body = json.dumps({"error": {"message": "upstream says no"}}).encode()
        self.answer(int(fields["status"]), body)

    def mode_usage(self, fields: dict[str, str]) -> None:
        self.answer(200, json.dumps({**self.seen(), "usage": USAGE}).encode())

    def mode_timings(self, fields: dict[str, str]) -> None:
        self.answer(200, json.dumps({**self.seen(), "timings": TIMINGS}).encode())

    def mode_gzip(self, fields: dict[str, str]) -> None:
        body = gzip.compress(json.dumps({**self.seen(), "usage": USAGE}).encode())
        self.answer(200, body, "application/json", ("Content-Encoding", "gzip"))

    def mode_digest(self, fields: dict[str, str]) -> None:
        digest = hashlib.sha256(self.body).hexdigest()
        self.answer(200, json.dumps({"size": len(self.body), "sha256": digest}).encode())

    def mode_hop(self, fields: dict[str, str]) -> None:
        self.answer(
            200,
            json.dumps(self.seen()).encode(),
            "application/json",
            ("X-Hop", "1"),
            ("Connection", "X-Hop"),
            ("Keep-Alive", "timeout=5"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("X-Accel-Buffering", "yes"),
        )

    def echo_websocket(self) -> None:
        """Take the upgrade and send every message back."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        offered = self.headers.get("Sec-WebSocket-Protocol")
        if offered:
            self.send_header("Sec-WebSocket-Protocol", offered.split(",")[0].strip())
        self.end_headers()
        self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                return
            length = head[1] & 127
            if length == 126:
                length = int.from_bytes(self.rfile.read(2), "big")
            elif length == 127:
                length = int.from_bytes(self.rfile.read(8), "big")
            mask = self.rfile.read(4) if head[1] & 128 else b"\0\0\0\0"
            data = bytes(b ^ mask[i % 4] for i, b in enumerate(self.rfile.read(length)))
            size = bytes([length]) if length < 126 else b"\x7e" + length.to_bytes(2, "big")
            self.wfile.write(head[:1] + size + data)
            if head[0] & 15 == 8:
                return

    def log_message(self, format: str, *values: object) -> None:
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 256


server = Server(("127.0.0.1", args.port), Handler)
print(args.name, "listening", flush=True)
server.serve_forever()
