"""From a configuration file to the planner and the scheduler it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llamaswap.config.load import load_config
from llamaswap.config.schema import Config
from llamaswap.planning.assemble import planner_for, rules_for, scheduler_for
from llamaswap.planning.batch import Batch
from llamaswap.planning.fifo import Fifo
from llamaswap.planning.groups import Groups
from llamaswap.planning.matrix import Matrix

MODELS = """
models:
  a: {cmd: x, proxy: 'http://h:1', aliases: [first], concurrencyLimit: 3}
  b: {cmd: x, proxy: 'http://h:2', metadata: {load_seconds: 30, unload_seconds: 4}}
"""
MATRIX = """
routing:
  router: {use: matrix, settings: {matrix: {vars: {v: b}, sets: {s: a & v}, evict_costs: {v: 7}}}}
"""
BATCH = """
routing:
  scheduler:
    use: batch
    settings:
      batch: {maxWait: 30, maxQueue: 5, patience: 0.5, minVisit: 2, priority: {first: 4}}
"""


Load = Callable[[str], Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def _load(text: str) -> Config:
        path = tmp_path / "config.yaml"
        path.write_text(MODELS + text)
        return load_config(path, None, environ={}).config

    return _load


def test_without_a_word_it_is_groups_and_fifo(load: Load) -> None:
    config = load("")
    assert isinstance(planner_for(config), Groups)
    scheduler = scheduler_for(config)
    assert isinstance(scheduler, Fifo)
    assert scheduler.max_wait == 0
    assert planner_for(config).evict("a", ("b",)) == ("b",)


def test_use_matrix_is_the_matrix_with_its_vars_and_costs(load: Load) -> None:
    planner = planner_for(load(MATRIX))
    assert isinstance(planner, Matrix)
    assert planner.evict("a", ("b",)) == ()
    assert planner.weight("b") == 7
    assert planner.may_run_together(["a", "b"])


def test_use_batch_is_batch_with_its_settings(load: Load) -> None:
    config = load(BATCH)
    scheduler = scheduler_for(config)
    assert isinstance(scheduler, Batch)
    assert (scheduler.max_wait, scheduler.max_queue) == (30, 5)
    assert (scheduler.patience, scheduler.min_visit) == (0.5, 2)
    rules = rules_for(config)
    assert (rules["a"].priority, rules["a"].slots, rules["b"].slots) == (4, 3, 0)


def test_metadata_says_what_a_load_takes(load: Load) -> None:
    costs = scheduler_for(load("")).costs
    assert (costs.load("b"), costs.unload("b"), costs.load("a")) == (30, 4, 10)
