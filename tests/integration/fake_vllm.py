"""vLLM's sleep mode, and an event stream, pretended: `python -I -S fake_vllm.py PORT LOG [fail]`.

With `dev=N` it tells in `/server_info` that it works on N requests at once. Its own process,
standard library only.
"""

import http.server
import json
import os
import sys
import time

port, log = int(sys.argv[1]), sys.argv[2]
info = [int(word[4:]) for word in sys.argv if word.startswith("dev=")]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        with open(log, "a") as file:
            file.write(f"{self.command} {self.path} {body}\n")
        if self.path == "/api/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b": hello\n\n")
            time.sleep(3600)
        if self.path == "/server_info?config_format=json" and info:
            self.answer_json({"vllm_config": {"scheduler_config": {"max_num_seqs": info[0]}}})
            return
        events = self.path == "/v1/events"
        content = b"data: 1\n\n" if events else json.dumps({"pid": os.getpid()}).encode()
        status = 500 if "fail" in sys.argv and self.path == "/sleep" else 200
        self.send_response(status)
        self.send_header("Content-Type", "text/event-stream" if events else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def answer_json(self, document: object) -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer

    def log_message(self, format: str, *values: object) -> None:
        print("daemon says", format % values, flush=True)


server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
server.daemon_threads = True
server.serve_forever()
