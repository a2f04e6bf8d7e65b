"""What the command line shows of a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from llamaswap.config.load import Loaded, load_config
from llamaswap.config.report import printable, summary
from llamaswap.config.schema import Config

FULL = """
apiKeys: ["sk-client"]
globalTTL: 90
macros: {dir: /srv}
models:
  chat:
    cmd: |
      server --port ${PORT} \\
        --api-key sk-flag -m ${dir}/chat.gguf
    aliases: [gpt]
    env: ["HF_TOKEN=hf-secret", "TOKENIZERS_PARALLELISM=false", plain]
    metadata: {looks: "0o10", number: 1e3, note: "two\\nlines", none: ~}
    filters: {stripParams: "top_p,seed", setParamsByID: {"chat:hot": {temperature: 1.5}}}
    capabilities: {in: [text], tools: true}
  remote: {cmd: run, proxy: "http://me:pw-url@10.0.0.2:1", unloadTimeout: 3}
groups: {pair: {swap: false, persistent: true, exclusive: false, members: [chat]}}
peers: {hub: {proxy: "https://hub.example", apiKey: "sk-peer", models: [m]}}
selectors: {any: {strategy: warm, targets: [chat]}}
profiles: {day: {pins: {fast: chat}}}
performance: {every: 1m30s}
"""
SECRETS = ("sk-client", "sk-flag", "hf-secret", "sk-peer", "pw-url")


def load(text: str, directory: Path) -> Loaded:
    path = directory / "full.yaml"
    path.write_text(text)
    return load_config(path, None, environ={})


def test_the_summary_names_models_ports_groups_and_peers(tmp_path: Path) -> None:
    text = summary(load(FULL, tmp_path))
    for line in (
        "models: 2",
        "  chat: port 5800, also gpt, chat:hot",
        "  pair: chat (all together, leaves other groups alone, never stopped by other groups)",
        "  (default): remote (one at a time)",
        "  hub: https://hub.example, models m",
        "  any: warm of chat",
        "  day: fast",
        "scheduler: fifo",
        "API keys: 1",
    ):
        assert line in text.splitlines()


def test_the_summary_shows_the_sets_of_a_matrix(tmp_path: Path) -> None:
    matrix = "models: {a: {cmd: 's ${PORT}'}}\nmatrix: {sets: {all: ' a '}}"
    assert "sets: 1\n  all: a\n" in summary(load(matrix, tmp_path))


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_is_shown(secret: str, tmp_path: Path) -> None:
    loaded = load(FULL, tmp_path)
    assert secret not in printable(loaded.config)
    assert secret not in summary(loaded)


@pytest.mark.parametrize(
    "text",
    [
        "cmd: 'docker run -e HF_TOKEN=hush-hush -p ${PORT}:80 image'",
        """cmd: 'serve ${PORT} -H "Authorization: Bearer hush-hush"'""",
        "cmd: 'serve ${PORT} --hf-token hush-hush'",
        "cmd: 'serve ${PORT} --api-key=hush-hush'",
        "cmd: 'serve ${PORT} --url https://me:hush-hush@host/x'",
        "cmd: 'serve ${PORT}'\n    filters: {setParams: {api_key: hush-hush}}",
        "cmd: 'serve ${PORT}'\n    filters: {setParamsByID: {x: {auth: {accessToken: hush-hush}}}}",
        "cmd: 'serve ${PORT}'\n    metadata: {list: [{password: hush-hush}]}",
        "cmd: 'serve ${PORT}'\n    env: [MY_SECRET=hush-hush]",
        # the client's own key, wherever it was written again
        "cmd: 'serve ${PORT} --weird sk-shared'",
        "cmd: 'serve ${PORT}'\n    description: ask with sk-shared",
    ],
)
def test_secrets_are_hidden_wherever_they_stand(text: str, tmp_path: Path) -> None:
    whole = f"apiKeys: [sk-shared]\nmodels:\n  m:\n    {text}\n"
    shown = printable(load(whole, tmp_path).config)
    assert "hush-hush" not in shown
    assert "sk-shared" not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "text",
    [
        "serve 5800 --ctx-size=4096 -m /models/key-model.gguf",
        "serve --api-key-file /run/secrets/key --tokenizer x --max-tokens 5",
        "docker run -e CUDA_VISIBLE_DEVICES=0 --name a=b image",
    ],
)
def test_commands_without_secrets_are_shown_whole(text: str, tmp_path: Path) -> None:
    config = load(f"models: {{m: {{cmd: '{text}', proxy: 'http://h:1'}}}}", tmp_path).config
    assert text in printable(config)


def test_values_that_only_sound_secret_are_shown(tmp_path: Path) -> None:
    text = printable(load(FULL, tmp_path).config)
    assert "TOKENIZERS_PARALLELISM=false" in text
    assert "HF_TOKEN=***" in text
    assert "--api-key *** -m /srv/chat.gguf" in text


def test_what_is_printed_loads_back_to_the_same_configuration(tmp_path: Path) -> None:
    text = FULL
    for secret in SECRETS:
        text = text.replace(secret, "***")
    config = load(text, tmp_path).config
    assert load(printable(config), tmp_path).config == with_fixed_ports(config)


def with_fixed_ports(config: Config) -> Config:
    models = {name: evolve(model, auto_port=None) for name, model in config.models.items()}
    return evolve(config, models=models)
