"""Servers of the shapes people run: each answers as the real one does, and refuses what it would.

`python -I -S shaped_server.py --port P --kind comfyui|sdapi|audio|llama`. Standard library only.
"""

import argparse
import base64
import hashlib
import http.server
import json
import re
import socketserver
import struct
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--kind")
args = parser.parse_args()

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SILENCE = (
    b"RIFF"
    + struct.pack("<I", 36)
    + b"WAVEfmt "
    + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    + b"data\0\0\0\0"
)
files: dict[str, bytes] = {}
history: dict[str, object] = {}
voices = ["alloy"]


class Refused(Exception):
    """The request has not the shape it should have."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        self.path, _, query = self.requestline.split(" ")[1].partition("?")
        self.query = {key: values[0] for key, values in parse_qs(query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/health":
            self.json({"status": "ok"})
            return
        for method, pattern, act in ROUTES[args.kind]:
            match = re.fullmatch(pattern, self.path)
            if method == self.command and match:
                try:
                    act(self, *match.groups())
                except (Refused, KeyError, ValueError, AssertionError) as exc:
                    self.json({"error": {"message": f"bad request: {exc!r}"}}, 400)
                return
        self.json({"error": {"message": f"{args.kind} has no {self.command} {self.path}"}}, 404)

    do_GET = do_POST = handle_any

    # --- sending ---

    def raw(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def json(self, value: object, status: int = 200) -> None:
        self.raw(json.dumps(value).encode(), "application/json", status)

    def stream(self, pieces: list[bytes], kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in [*pieces, b""]:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    # --- reading ---

    def wanted(self, **kinds: type) -> dict[str, Any]:
        """The JSON body, which has these members of these types."""
        value: dict[str, Any] = json.loads(self.body)
        for name, kind in kinds.items():
            if not isinstance(value[name], kind):
                raise Refused(name)
        return value

    def form(self) -> dict[str, Any]:
        """The fields of a multipart body; files as (name, type, content)."""
        boundary = found(r'boundary="?([^";]+)', self.headers["Content-Type"]).encode()
        fields = {}
        for part in self.body.split(b"--" + boundary)[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            text = head.decode()
            name = found(r'\bname="([^"]*)"', text)
            file = re.search(r'filename="([^"]*)"', text)
            kind = re.search(r"content-type: *(\S+)", text, re.IGNORECASE)
            content = content.removesuffix(b"\r\n")
            fields[name] = (file[1], kind and kind[1], content) if file else content.decode()
        return fields

    # --- ComfyUI ---

    def comfy_page(self) -> None:
        self.raw(b"<!doctype html><title>ComfyUI</title>", "text/html")

    def comfy_prompt(self) -> None:
        body = self.wanted(prompt=dict, client_id=str)
        for node in body["prompt"].values():
            assert {"class_type", "inputs"} <= set(node)
        number = str(uuid.uuid4())
        files["out.png"] = PNG
        outputs = {"9": {"images": [{"filename": "out.png", "subfolder": "", "type": "output"}]}}
        history[number] = {"prompt": [0, number, body["prompt"]], "outputs": outputs}
        self.json({"prompt_id": number, "number": len(history), "node_errors": {}})

    def comfy_history(self, number: str) -> None:
        self.json({number: history[number]} if number in history else {})

    def comfy_view(self) -> None:
        self.raw(files[self.query["filename"]], "image/png")

    def comfy_upload(self) -> None:
        name, kind, content = self.form()["image"]
        assert kind == "image/png"
        files[name] = content
        self.json({"name": name, "subfolder": "", "type": "input"})

    def comfy_userdata(self, name: str) -> None:
        assert "/" not in name  # a slash in a name comes encoded
        if self.command == "POST":
            files[unquote(name)] = self.body
            self.json(unquote(name))
        else:
            self.raw(files[unquote(name)], "application/json")

    def comfy_socket(self) -> None:
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        status = {"status": {"exec_info": {"queue_remaining": 0}}, "sid": self.query["clientId"]}
        for opcode, data in (
            (1, json.dumps({"type": "status", "data": status}).encode()),
            (2, struct.pack(">II", 1, 2) + PNG),  # a preview: event 1, format PNG
            (8, struct.pack(">H", 1000)),
        ):
            self.wfile.write(bytes([128 | opcode, len(data)]) + data)
        self.close_connection = True

    # --- Stable Diffusion web UI ---

    def sd_images(self) -> None:
        body = self.wanted(prompt=str)
        if self.path.endswith("img2img"):
            assert all(base64.b64decode(image) == PNG for image in body["init_images"])
            assert body["init_images"]
        images = [base64.b64encode(PNG).decode()] * body.get("batch_size", 1)
        info = json.dumps({"prompt": body["prompt"], "seed": body.get("seed", -1)})
        self.json({"images": images, "parameters": body, "info": info})

    def sd_loras(self) -> None:
        self.json(
            [{"name": "detail", "alias": "detail", "path": "/m/detail.safetensors", "metadata": {}}]
        )

    def openai_image(self) -> None:
        if "json" in self.headers["Content-Type"]:
            self.wanted(prompt=str)
        else:
            fields = self.form()
            assert fields["image"][2] == PNG
            assert fields["prompt"]
        self.json({"created": 1, "data": [{"b64_json": base64.b64encode(PNG).decode()}]})

    # --- audio ---

    def speech(self) -> None:
        body = self.wanted(model=str, input=str, voice=str)
        assert body["model"] == "tts-1"
        self.stream([SILENCE[:20], SILENCE[20:]], "audio/wav")

    def transcription(self) -> None:
        fields = self.form()
        name, _, content = fields["file"]
        assert fields["model"] == "tts-1"
        digest = hashlib.sha256(content).hexdigest()
        if fields.get("response_format") == "verbose_json":
            self.json(
                {
                    "task": "transcribe",
                    "language": "english",
                    "duration": 1.0,
                    "text": digest,
                    "segments": [],
                }
            )
        elif fields.get("response_format") == "text":
            self.raw(f"{name} {digest}\n".encode(), "text/plain")
        else:
            self.json({"text": digest})

    def list_voices(self) -> None:
        self.json({"voices": voices})

    def add_voice(self) -> None:
        voices.append(self.form()["name"])
        self.json({"name": voices[-1]})

    def task(self) -> None:
        self.wanted(model=str, task=str)
        self.json({"status": "done"})

    # --- llama.cpp's server ---

    def rerank(self) -> None:
        body = self.wanted(query=str, documents=list)
        top = body.get("top_n", len(body["documents"]))
        results = [
            {"index": index, "relevance_score": 1.0 / (index + 1)}
            for index in range(len(body["documents"]))
        ]
        usage = {"prompt_tokens": 7, "total_tokens": 7}
        self.json(
            {"model": body["model"], "object": "list", "usage": usage, "results": results[:top]}
        )

    def infill(self) -> None:
        body = self.wanted(input_prefix=str, input_suffix=str)
        timings = {"prompt_n": 3, "predicted_n": 1, "prompt_ms": 2.0, "predicted_ms": 1.0}
        end = {"content": "", "stop": True, "timings": timings}
        if body.get("stream"):
            lines = [{"content": "return", "stop": False}, end]
            pieces = [f"data: {json.dumps(line)}\n\n".encode() for line in lines]
            self.stream(pieces, "text/event-stream")
        else:
            self.json({**end, "content": "return"})

    def props(self) -> None:
        self.json(
            {
                "default_generation_settings": {"n_ctx": 4096},
                "total_slots": 1,
                "model_path": "/m/x.gguf",
                "chat_template": "{{ messages }}",
                "asked": self.query,
            }
        )

    # --- OpenAI's newer interface ---

    def respond(self) -> None:
        body = self.wanted(model=str)
        assert isinstance(body["input"], str | list)
        text = {"type": "output_text", "text": "hello", "annotations": []}
        message = {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [text],
        }
        usage = {
            "input_tokens": 5,
            "input_tokens_details": {"cached_tokens": 2},
            "output_tokens": 1,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 6,
        }
        done = {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": body["model"],
            "output": [message],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": usage,
        }
        if not body.get("stream"):
            self.json(done)
            return
        begun = {**done, "status": "in_progress", "output": [], "usage": None}
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": begun},
            {"type": "response.output_text.delta", **place, "delta": "hel", "logprobs": []},
            {"type": "response.output_text.delta", **place, "delta": "lo", "logprobs": []},
            {"type": "response.completed", "response": done},
        ]
        pieces = [
            f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': n})}\n\n".encode()
            for n, event in enumerate(events)
        ]
        self.stream(pieces, "text/event-stream")

    def log_message(self, format: str, *values: object) -> None:
        pass


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise Refused(pattern)
    return match[1]


ROUTES: dict[str, list[tuple[str, str, Callable[..., None]]]] = {
    "comfyui": [
        ("GET", "/", Handler.comfy_page),
        ("GET", "/ws", Handler.comfy_socket),
        ("POST", "/api/prompt", Handler.comfy_prompt),
        ("GET", "/api/history/(.+)", Handler.comfy_history),
        ("GET", "/api/view", Handler.comfy_view),
        ("POST", "/upload/image", Handler.comfy_upload),
        ("GET", "/api/userdata/(.+)", Handler.comfy_userdata),
        ("POST", "/api/userdata/(.+)", Handler.comfy_userdata),
    ],
    "sdapi": [
        ("POST", "/sdapi/v1/(?:txt|img)2img", Handler.sd_images),
        ("GET", "/sdapi/v1/loras", Handler.sd_loras),
        ("POST", "/v1/images/(?:generations|edits)", Handler.openai_image),
    ],
    "audio": [
        ("POST", "/v1/audio/speech", Handler.speech),
        ("POST", "/v1/audio/transcriptions", Handler.transcription),
        ("GET", "/v1/audio/voices", Handler.list_voices),
        ("POST", "/v1/audio/voices", Handler.add_voice),
        ("POST", "/v1/tasks/run", Handler.task),
    ],
    "llama": [
        ("POST", "(?:/v1)?/rerank(?:ing)?", Handler.rerank),
        ("POST", "/infill", Handler.infill),
        ("GET", "/props", Handler.props),
        ("POST", "(?:/v1)?/responses", Handler.respond),
    ],
}


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 256


Server(("127.0.0.1", args.port), Handler).serve_forever()
