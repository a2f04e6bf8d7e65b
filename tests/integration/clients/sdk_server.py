"""A model server that speaks as OpenAI's and Anthropic's APIs do, word for word scripted.

A real child, `python -I -S sdk_server.py --port P [--delay S] [--key K]`. Standard library only.
"""

import argparse
import http.server
import json
import socketserver
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--delay", type=float, default=0.0)
parser.add_argument("--exit", type=int, default=None)
args = parser.parse_args()
time.sleep(args.delay)
if args.exit is not None:
    sys.exit(args.exit)

WORDS = ["The ", "answer ", "is ", "forty-", "two."]
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
CALL = '{"city": "Zürich"}'


def chunk(delta: dict[str, object], finish: str | None = None) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "real",
        "choices": [choice],
    }


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send(200, {"ok": True})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if path == "/v1/audio/transcriptions":
            self.send(200, {"text": f"{len(raw)} bytes, {self.headers['Content-Type'][:19]}"})
            return
        body = json.loads(raw)
        wish = str(body.get("user") or body.get("metadata", {}).get("user_id") or "")
        if wish.startswith("status "):
            self.fail(int(wish[7:]), path)
        elif wish == "reset":
            self.close_connection = True
        elif path == "/v1/chat/completions":
            self.chat(body, wish)
        elif path == "/v1/messages":
            self.message(body, wish)
        elif path == "/v1/messages/count_tokens":
            self.send(200, {"input_tokens": 14})
        elif path == "/v1/embeddings":
            self.embed(body)
        elif path == "/v1/responses":
            self.respond(body)
        else:
            self.send(404, {"error": {"message": f"no {path} here"}})

    # --- OpenAI -----------------------------------------------------------------------------------

    def chat(self, body: dict[str, object], wish: str) -> None:
        call = {
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": CALL},
        }
        if not body.get("stream"):
            message: dict[str, object] = {"role": "assistant", "content": "".join(WORDS)}
            if body.get("tools"):
                message = {"role": "assistant", "content": None, "tool_calls": [call]}
            choice = {
                "index": 0,
                "message": message,
                "finish_reason": "tool_calls" if body.get("tools") else "stop",
            }
            answer = {**chunk({}), "object": "chat.completion", "choices": [choice], "usage": USAGE}
            self.send(200, answer)
            return
        self.begin_events()
        self.event(chunk({"role": "assistant", "content": ""}))
        if wish == "cut":
            self.close_connection = True
            return
        if body.get("tools"):
            start = {**call, "index": 0, "function": {"name": "weather", "arguments": ""}}
            self.event(chunk({"tool_calls": [start]}))
            for at in range(0, len(CALL), 5):
                part = {"index": 0, "function": {"arguments": CALL[at : at + 5]}}
                self.event(chunk({"tool_calls": [part]}))
            self.event(chunk({}, "tool_calls"))
        else:
            for word in WORDS:
                self.event(chunk({"content": word}))
            self.event(chunk({}, "stop"))
        self.event({**chunk({}), "choices": [], "usage": USAGE})
        self.piece(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def embed(self, body: dict[str, object]) -> None:
        texts = body["input"]
        assert isinstance(texts, list)
        vector: object = [0.5, -0.25, 1.0]
        if body.get("encoding_format") == "base64":
            vector = "AAAAPwAAgL4AAIA/"
        data = [
            {"object": "embedding", "index": at, "embedding": vector} for at in range(len(texts))
        ]
        self.send(200, {"object": "list", "model": "real", "data": data, "usage": USAGE})

    def respond(self, body: dict[str, object]) -> None:
        content = {"type": "output_text", "text": "".join(WORDS), "annotations": []}
        output = {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [content],
        }
        answer = {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "model": "real",
            "status": "completed",
            "output": [output],
            "parallel_tool_calls": False,
            "tool_choice": "auto",
            "tools": [],
        }
        if not body.get("stream"):
            self.send(200, answer)
            return
        self.begin_events()
        self.event({"type": "response.created", "response": answer, "sequence_number": 0})
        for number, word in enumerate(WORDS):
            self.event(
                {
                    "type": "response.output_text.delta",
                    "delta": word,
                    "item_id": "msg_1",
                    "output_index": 0,
                    "content_index": 0,
                    "logprobs": [],
                    "sequence_number": number + 1,
                }
            )
        self.event({"type": "response.completed", "response": answer, "sequence_number": 9})
        self.wfile.write(b"0\r\n\r\n")

    # --- Anthropic --------------------------------------------------------------------------------

    def message(self, body: dict[str, object], wish: str) -> None:
        usage = {"input_tokens": 7, "output_tokens": 5}
        tool = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": json.loads(CALL)}
        text = {"type": "text", "text": "".join(WORDS)}
        answer = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "real",
            "content": [tool if body.get("tools") else text],
            "stop_reason": "tool_use" if body.get("tools") else "end_turn",
            "stop_sequence": None,
            "usage": usage,
        }
        if not body.get("stream"):
            self.send(200, answer)
            return
        self.begin_events()
        start = {**answer, "content": [], "stop_reason": None}
        self.named({"type": "message_start", "message": start})
        if body.get("tools"):
            block: dict[str, object] = {**tool, "input": {}}
            parts = [CALL[at : at + 5] for at in range(0, len(CALL), 5)]
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
        else:
            block = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": word} for word in WORDS]
        self.named({"type": "content_block_start", "index": 0, "content_block": block})
        for delta in deltas:
            self.named({"type": "content_block_delta", "index": 0, "delta": delta})
            if wish == "overloaded":
                error = {"type": "overloaded_error", "message": "too much"}
                self.named({"type": "error", "error": error})
                self.wfile.write(b"0\r\n\r\n")
                return
        self.named({"type": "content_block_stop", "index": 0})
        stop = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
        self.named({"type": "message_delta", "delta": stop, "usage": usage})
        self.named({"type": "message_stop"})
        self.wfile.write(b"0\r\n\r\n")

    # --- wire -------------------------------------------------------------------------------------

    def fail(self, status: int, path: str) -> None:
        error: dict[str, object] = {"message": f"scripted {status}", "type": "scripted"}
        body = {"error": error}
        self.send(status, {"type": "error", **body} if "messages" in path else body)

    def send(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Request-Id", "req_1")
        self.end_headers()
        self.wfile.write(body)

    def begin_events(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def event(self, document: dict[str, object]) -> None:
        self.piece(b"data: " + json.dumps(document).encode() + b"\n\n")

    def named(self, document: dict[str, object]) -> None:
        data = json.dumps(document).encode()
        self.piece(b"event: " + str(document["type"]).encode() + b"\ndata: " + data + b"\n\n")

    def piece(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def log_message(self, format: str, *values: object) -> None:
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 256


Server(("127.0.0.1", args.port), Handler).serve_forever()
