"""Write the results in docs/scheduling.md and its charts: `python -m bench.scheduling_report`.

Every scenario with every held-back seed, both schedulers. What stands between the two marks of the
document is replaced; the rest is written by people.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from llamaswap.commands.chart import chart
from llamaswap.commands.scenarios import REPORT_SEEDS, SCENARIOS, TUNING_SEEDS
from llamaswap.commands.simulate import Run, scenario_run

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
CHART_SECONDS = 1_500.0


def main() -> None:
    """Play everything, write everything."""
    charts = DOCS / "scheduling"
    charts.mkdir(exist_ok=True)
    parts = [_head()]
    ratios: list[float] = []
    for name, (text, _make) in SCENARIOS.items():
        runs = {
            kind: [scenario_run(name, seed, kind) for seed in REPORT_SEEDS]
            for kind in ("fifo", "batch")
        }
        ratios.append(_ratio(runs["fifo"], runs["batch"]))
        picture = chart(
            {kind: played[0].history for kind, played in runs.items()}, seconds=CHART_SECONDS
        )
        (charts / f"{name}.svg").write_text(picture, encoding="utf-8")
        parts.append(_section(name, text, runs, ratios[-1]))
        print(f"{name}: {ratios[-1]:.2f}", flush=True)
    over_all = math.exp(sum(math.log(ratio) for ratio in ratios) / len(ratios))
    parts.append(
        f"Geometric mean over the scenarios: batch lets wait **{over_all:.2f}** times as long as "
        f"fifo; the worst scenario is {max(ratios):.2f}.\n"
    )
    path = DOCS / "scheduling.md"
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n\n" + "\n".join(parts) + f"\n{END}{after}", encoding="utf-8")


def _head() -> str:
    return (
        f"Seeds {', '.join(map(str, REPORT_SEEDS))}; the constants of `batch` were chosen on seeds "
        f"{', '.join(map(str, TUNING_SEEDS))}. Seconds; waits are from arrival until the server "
        "works on the request. *bound* is the largest share of its promised wait that any request "
        "used up: below 1 the promise is kept.\n"
    )


def _ratio(fifo: Sequence[Run], batch: Sequence[Run]) -> float:
    logs = [
        math.log(ours.figures.all.mean / theirs.figures.all.mean)
        for theirs, ours in zip(fifo, batch, strict=True)
    ]
    return math.exp(sum(logs) / len(logs))


def _section(name: str, text: str, runs: dict[str, list[Run]], ratio: float) -> str:
    rows = [
        f"### {text}",
        "",
        f"![{text}](scheduling/{name}.svg)",
        "",
        "| seed | scheduler | done | refused | swaps | mean | p95 | worst | fairness | bound |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for at, seed in enumerate(REPORT_SEEDS):
        for kind, played in runs.items():
            told, kept = played[at].figures, played[at].promise
            bound = "–" if kind == "fifo" else f"{kept.tightest:.2f}"
            rows.append(
                f"| {seed} | {kind} | {told.done} | {told.refused} | {told.swaps} "
                f"| {told.all.mean:.1f} | {told.all.p95:.1f} | {told.all.worst:.1f} "
                f"| {told.fairness:.2f} | {bound} |"
            )
    rows += ["", f"Mean wait of batch over fifo's: **{ratio:.2f}**.", ""]
    return "\n".join(rows)


if __name__ == "__main__":
    main()
