"""ComfyUI, Stable Diffusion, audio, reranking, infill, props, responses: the shapes people run.

The servers refuse what the real ones would, so an answer proves that the request arrived as sent.
Source: http-api §1.2.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from websockets.sync.client import connect

from tests.integration.http_cases.stage import Reply, Server, running
from tests.integration.processes import free_ports

SHAPED = shlex.join([sys.executable, "-I", "-S", str(Path(__file__).with_name("shaped_server.py"))])
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    text = f"""
startPort: {free_ports()}
healthCheckTimeout: 15
models:
  comfyui_auto: {{cmd: "{SHAPED} --port ${{PORT}} --kind comfyui"}}
  sd: {{cmd: "{SHAPED} --port ${{PORT}} --kind sdapi"}}
  tts: {{cmd: "{SHAPED} --port ${{PORT}} --kind audio", useModelName: tts-1}}
  llama: {{cmd: "{SHAPED} --port ${{PORT}} --kind llama", aliases: [reranker]}}
groups:
  all: {{swap: false, exclusive: false, members: [comfyui_auto, sd, tts, llama]}}
"""
    with running(tmp_path_factory.mktemp("shapes"), text) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    base = f"http://127.0.0.1:{server.port}/v1"
    with openai.OpenAI(base_url=base, api_key="any", max_retries=0) as client:
        yield client


def post(server: Server, path: str, body: dict[str, Any]) -> Reply:
    kinds = {"Content-Type": "application/json"}
    reply = server.request("POST", path, kinds, json.dumps(body).encode())
    assert reply.status == 200, reply
    return reply


# --- ComfyUI --------------------------------------------------------------------------------------


def test_comfyui_from_its_page_to_the_picture(server: Server) -> None:
    server.unload("comfyui_auto")
    refused = server.request("POST", "/comfyui/api/prompt", {}, b"{}")
    assert (refused.status, refused.json()["error"]["code"]) == (409, "conflict")
    assert "comfyui_auto" not in server.running()
    page = server.request("GET", "/comfyui/?t=1")
    assert (page.status, page.header("Content-Type")) == (200, "text/html")
    with connect(f"ws://127.0.0.1:{server.port}/comfyui/ws?clientId=me") as socket:
        assert json.loads(socket.recv())["data"]["sid"] == "me"
        preview = socket.recv()
        assert isinstance(preview, bytes)
        assert preview[8:] == PNG
    nodes = {"3": {"class_type": "KSampler", "inputs": {"seed": 12345678901234567890}}}
    queued = post(server, "/comfyui/api/prompt", {"prompt": nodes, "client_id": "me"}).json()
    number = queued["prompt_id"]
    history = server.request("GET", f"/comfyui/api/history/{number}").json()
    (image,) = history[number]["outputs"]["9"]["images"]
    view = server.request("GET", f"/comfyui/api/view?filename={image['filename']}&type=output")
    assert (view.header("Content-Type"), view.body) == ("image/png", PNG)


def test_comfyui_keeps_encoded_slashes_in_names_of_files(server: Server) -> None:
    server.request("GET", "/comfyui/")
    name = "/comfyui/api/userdata/workflows%2Fmine.json"
    assert server.request("POST", f"{name}?overwrite=true", {}, b'{"a":1}').status == 200
    assert server.request("GET", name).body == b'{"a":1}'
    boundary = "----X"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="in.png"\r\n'
        "Content-Type: image/png\r\n\r\n"
    ).encode()
    body += PNG + f"\r\n--{boundary}--\r\n".encode()
    kinds = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    assert server.request("POST", "/comfyui/upload/image", kinds, body).json()["name"] == "in.png"


# --- images ---------------------------------------------------------------------------------------


def test_stable_diffusion_web_ui(server: Server) -> None:
    made = post(server, "/sdapi/v1/txt2img", {"model": "sd", "prompt": "a", "batch_size": 2})
    assert [base64.b64decode(image) for image in made.json()["images"]] == [PNG, PNG]
    picture = base64.b64encode(PNG).decode()
    changed = {"model": "sd", "prompt": "b", "init_images": [picture], "seed": 5}
    assert json.loads(post(server, "/sdapi/v1/img2img", changed).json()["info"])["seed"] == 5
    loras = server.request("GET", "/sdapi/v1/loras?model=sd")
    assert loras.json()[0]["name"] == "detail"


def test_images_of_openai(client: openai.OpenAI) -> None:
    made = client.images.generate(model="sd", prompt="a", response_format="b64_json")
    assert made.data is not None
    assert base64.b64decode(made.data[0].b64_json or "") == PNG
    edited = client.images.edit(model="sd", prompt="b", image=("a.png", PNG, "image/png"))
    assert edited.data is not None
    assert base64.b64decode(edited.data[0].b64_json or "") == PNG


# --- audio ----------------------------------------------------------------------------------------


def test_speech_is_carried_as_it_is_made(client: openai.OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="tts", input="hello", voice="alloy"
    ) as answer:
        assert answer.headers["content-type"] == "audio/wav"
        sound = answer.read()
    assert sound[:4] == b"RIFF"
    assert sound[8:12] == b"WAVE"


@pytest.mark.parametrize("shape", ["json", "verbose_json", "text"])
def test_transcription_gets_the_very_file(client: openai.OpenAI, shape: Any) -> None:
    sound = b"RIFF" + bytes(range(256)) * 1000 + b"\r\n--x\r\n"
    answer: Any = client.audio.transcriptions.create(
        model="tts", file=("a.wav", io.BytesIO(sound)), response_format=shape, language="en"
    )
    digest = hashlib.sha256(sound).hexdigest()
    assert digest in (answer if shape == "text" else answer.text)


def test_voices_are_listed_and_added(server: Server) -> None:
    assert "alloy" in server.request("GET", "/v1/audio/voices?model=tts").json()["voices"]
    body = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\ntts\r\n'
    body += b'--B\r\nContent-Disposition: form-data; name="name"\r\n\r\nmine\r\n--B--\r\n'
    kinds = {"Content-Type": "multipart/form-data; boundary=B"}
    assert server.request("POST", "/v1/audio/voices", kinds, body).json() == {"name": "mine"}
    assert "mine" in server.request("GET", "/v1/audio/voices?model=tts").json()["voices"]


def test_tasks_of_audio_cpp(server: Server) -> None:
    done = post(server, "/audioapi/v1/tasks/run", {"model": "tts", "task": "tts"})
    assert done.json() == {"status": "done"}


# --- llama.cpp's own ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/rerank", "/reranking", "/v1/rerank", "/v1/reranking", "/v/rerank", "/v/reranking"]
)
def test_reranking(server: Server, path: str) -> None:
    wish = {"model": "reranker", "query": "q", "documents": ["a", "b", "c"], "top_n": 2}
    answer = post(server, path, wish).json()
    assert [result["index"] for result in answer["results"]] == [0, 1]
    assert answer["model"] == "reranker"


def test_infill(server: Server) -> None:
    wish = {"model": "llama", "input_prefix": "def f():\n  ", "input_suffix": "\n"}
    assert post(server, "/infill", wish).json()["content"] == "return"
    streamed = post(server, "/infill", {**wish, "stream": True})
    assert streamed.header("Content-Type") == "text/event-stream"
    lines = [json.loads(line[6:]) for line in streamed.body.decode().split("\n\n") if line]
    assert [line["content"] for line in lines] == ["return", ""]


def test_props_with_every_parameter(server: Server) -> None:
    answer = server.request("GET", "/props?model=llama&autoload=false&x=%C3%A9").json()
    assert answer["asked"] == {"model": "llama", "autoload": "false", "x": "é"}
    assert answer["total_slots"] == 1


def test_responses_of_openai(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="llama", input="hi")
    assert answer.output_text == "hello"
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.cached_tokens == 2
    with client.responses.create(model="llama", input="hi", stream=True) as events:
        kinds = [event.type for event in events]
    assert kinds == [
        "response.created",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.completed",
    ]


def test_an_error_of_the_server_reaches_the_client_as_it_is(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="bad request"):
        client.images.generate(model="sd", prompt=None)  # type: ignore[call-overload]
    with pytest.raises(openai.NotFoundError, match="sdapi has no POST /v1/responses"):
        client.responses.create(model="sd", input="hi")
    with pytest.raises(openai.NotFoundError, match="no router for requested model"):
        client.responses.create(model="nobody", input="hi")
