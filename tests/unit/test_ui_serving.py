"""Static serving of the UI. Source: web-ui §0.2, §4.7, checks UI-05, UI-06, UI-10, UI-72."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import quart

from llamaswap.api import ui
from llamaswap.api.app import ControlPlane, error_response
from llamaswap.config.schema import Config
from llamaswap.errors import LlamaswapError

PAGE = (
    '<!doctype html><base href="/ui/"><meta name="llamaswap-root" content="">'
    '<script type="module" src="./assets/main-1.js"></script>'
)
HTML = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {"index.html": PAGE, "assets/main-1.js": "let a = 1;" * 200, "favicon.ico": "icon"}
    entries = []
    for path, text in files.items():
        target = tmp_path / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)
        entries.append({"path": path, "type": "text/plain", "encodings": []})
    (tmp_path / "assets/main-1.js.br").write_bytes(b"as brotli")
    (tmp_path / "assets/main-1.js.gz").write_bytes(gzip.compress(b"as gzip"))
    entries[1]["encodings"] = ["br", "gzip"]
    (tmp_path / "manifest.json").write_text(json.dumps({"files": entries}))
    (tmp_path.parent / "secret.txt").write_text("secret")
    return tmp_path


def app_on(folder: Path, config: Config | None = None) -> Any:
    app = ControlPlane("test", static_folder=None)
    around: Any = SimpleNamespace(config=config or Config())  # it touches nothing else
    ui.add_routes(app, around, folder)

    async def on_error(error: LlamaswapError) -> quart.Response:
        return error_response(error)

    app.register_error_handler(LlamaswapError, on_error)
    return app.test_client()


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("br", "br"),
        ("gzip, br", "br"),
        ("gzip", "gzip"),
        ("BR;q=0.5, gzip", "br"),
        ("br;q=0, gzip", "gzip"),
        ("br; q=0.000", None),
        ("brotli", None),
        ("", None),
    ],
)
async def test_the_coding_is_one_the_client_accepts(
    folder: Path, header: str, coding: str | None
) -> None:
    answer = await app_on(folder).get("/ui/assets/main-1.js", headers={"Accept-Encoding": header})
    assert answer.status_code == 200
    assert answer.headers.get("Content-Encoding") == coding
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_the_page_is_revalidated_and_not_sent_twice(folder: Path) -> None:
    client = app_on(folder)
    first = await client.get("/ui/")
    assert first.headers["Cache-Control"] == "no-cache"
    again = await client.get("/ui/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, await again.get_data()) == (304, b"")
    other = await client.get("/ui/", headers={"If-None-Match": '"else"'})
    assert other.status_code == 200


async def test_every_form_of_a_file_has_its_own_etag(folder: Path) -> None:
    client = app_on(folder)
    tags = {
        (await client.get("/ui/assets/main-1.js", headers={"Accept-Encoding": coding})).headers[
            "ETag"
        ]
        for coding in ("br", "gzip", "identity")
    }
    assert len(tags) == 3


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/ui/models/qwen2.5-7b", HTML, 200),
        ("/ui/models/org/name", {}, 200),
        ("/ui/models/qwen2.5-7b", {"Accept": "*/*"}, 404),
        ("/ui/assets/none.js", HTML, 404),
        ("/ui/assets/none", HTML, 404),
        ("/ui/..%2Fsecret.txt", HTML, 404),
        ("/ui/%2e%2e/secret.txt", HTML, 404),
        ("/ui/none.png", {}, 404),
    ],
)
async def test_routes_of_the_application_get_the_page_and_missing_files_do_not(
    folder: Path, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await app_on(folder).get(path, headers=headers)
    assert answer.status_code == status
    assert b"secret" not in (await answer.get_data()).replace(b"secret.txt", b"")


@pytest.mark.parametrize(
    ("said", "root"),
    [("/ai", "/ai"), ("/ai/", "/ai"), ("/a/b", "/a/b"), ("", ""), ('/"><script>', ""), ("/..", "")],
)
async def test_the_page_knows_where_a_proxy_mounts_it(folder: Path, said: str, root: str) -> None:
    headers = {"X-Forwarded-Prefix": said}
    text = await (await app_on(folder).get("/ui/", headers=headers)).get_data(as_text=True)
    assert f'<base href="{root}/ui/">' in text
    assert f'name="llamaswap-root" content="{root}"' in text
    moved = await app_on(folder).get("/", headers=headers)
    assert moved.headers["Location"] == f"{root}/ui"


async def test_the_page_knows_what_the_operator_wrote_about_it(folder: Path) -> None:
    """`ui.basePath` wins over what a proxy says; both texts are escaped."""
    client = app_on(folder, Config(ui_base_path="/llm", ui_title='Home "<1>"'))
    headers = {"X-Forwarded-Prefix": "/ai"}
    text = await (await client.get("/ui/", headers=headers)).get_data(as_text=True)
    assert '<base href="/llm/ui/">' in text
    assert '<meta name="llamaswap-root" content="/llm">' in text
    assert '<meta name="llamaswap-title" content="Home &quot;&lt;1&gt;&quot;">' in text
    assert (await client.get("/", headers=headers)).headers["Location"] == "/llm/ui"


async def test_head_has_the_headers_of_get(folder: Path) -> None:
    client = app_on(folder)
    head, get = await client.head("/ui/"), await client.get("/ui/")
    assert head.status_code == 200
    assert dict(head.headers) == dict(get.headers)


async def test_the_policy_lets_no_foreign_script_in(folder: Path) -> None:
    policy = (await app_on(folder).get("/ui/")).headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "object-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy


async def test_the_icon_needs_no_folder(folder: Path) -> None:
    assert await (await app_on(folder).get("/favicon.ico")).get_data() == b"icon"


async def test_without_a_build_the_page_says_how_to_get_one(tmp_path: Path) -> None:
    answer = await app_on(tmp_path).get("/ui/")
    assert answer.status_code == 503
    assert "npm ci" in await answer.get_data(as_text=True)
