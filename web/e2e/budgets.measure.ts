// Times and heap of the running page, for docs/benchmarks.md: `make ui-measure`. No check fails by a
// time: on a busy machine it says nothing about the page.
import { afterAll, expect, test } from "vitest";
import { anHour, busyShare, goRound, heapOf, longestTask, noteLongTasks, restless, steadily, withoutWorker } from "./gauges";
import { demo, model, pause, script, theBrowser } from "./harness";
import { Stage } from "./stage";
import type { BrowserContext, Page } from "playwright-core";

const connected = "#connection:has-text('Connected')";
const figures: [string, string, string][] = [];
const note = (what: string, got: string, goal = "") => void figures.push([what, got, goal]);
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const median = (list: number[]) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!;

async function scene(run: (page: Page, stage: Stage, context: BrowserContext) => Promise<void>): Promise<void> {
  const stage = await new Stage(demo()).start();
  const context = await (await theBrowser()).newContext({ viewport: { width: 1280, height: 800 } });
  try {
    await run(await context.newPage(), stage, context);
  } finally {
    await context.close();
    await stage.stop();
  }
}

afterAll(() => {
  process.stdout.write(`\n| | measured | budget |\n|---|---:|---:|\n${figures.map((row) => `| ${row.join(" | ")} |`).join("\n")}\n`);
});

test("cold start", async () => {
  const rounds: number[] = [];
  const again: number[] = [];
  for (let i = 0; i < 15; i++) {
    const context = await (await theBrowser()).newContext({ viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    await page.addInitScript(() => {
      const usable = () => document.querySelector("#connection .ok") && document.querySelector("main h1") && !document.querySelector('[aria-label="Loading models"]');
      const watcher = new MutationObserver(() => {
        if (!usable()) return;
        watcher.disconnect();
        requestAnimationFrame(() => requestAnimationFrame(() => ((globalThis as unknown as { usableAt: number }).usableAt = performance.now())));
      });
      watcher.observe(document, { childList: true, subtree: true, attributes: true });
    });
    const once = async () => (await page.waitForFunction(() => (globalThis as unknown as { usableAt?: number }).usableAt)).jsonValue() as Promise<number>;
    await page.goto(`${demo()}/ui/`);
    rounds.push(await once());
    await page.reload();
    again.push(await once());
    await context.close();
  }
  note("Cold start until the Overview shows live models, median of 15", `${median(rounds).toFixed(0)} ms`, "400 ms");
  note("the same, best and worst", `${Math.min(...rounds).toFixed(0)}–${Math.max(...rounds).toFixed(0)} ms`);
  note("Reload with a warm cache, median", `${median(again).toFixed(0)} ms`);
}, 120_000);

test("logs at 200 a second", () => scene(async (page, stage, context) => {
  script(stage, [model("m", "ready")]);
  await noteLongTasks(page);
  await page.goto(`${stage.url}/ui/logs`);
  await page.locator(connected).waitFor();
  const stop = steadily(stage, 200);
  await pause(1_000);
  await longestTask(page);
  note("Main thread, log open at 200 messages a second, 30 s", percent(await busyShare(page, context, () => pause(30_000))), "25 %");
  note("its longest task", `${(await longestTask(page)).toFixed(0) === "0" ? "under 50" : (await longestTask(page)).toFixed(0)} ms`, "100 ms");
  await page.locator(".nav").getByRole("link", { name: "Models", exact: true }).click();
  await page.locator('tr[data-model="m"]').waitFor();
  await pause(500);
  note("the same on Models", percent(await busyShare(page, context, () => pause(30_000))), "5 %");
  stop();
}), 180_000);

test("300 models", () => scene(async (page, stage, context) => {
  const list = Array.from({ length: 300 }, (_, i) => model(`model-${i}`, "stopped", { description: "a model among many" }));
  script(stage, list);
  await noteLongTasks(page);
  await page.goto(`${stage.url}/ui/models`);
  await page.locator("tr[data-model]").nth(299).waitFor();
  await longestTask(page);
  const { stop } = restless(stage, list);
  await pause(500);
  note("Main thread, 300 models with 30 changes a second, 10 s", percent(await busyShare(page, context, () => pause(10_000))), "30 %");
  const longest = await longestTask(page);
  note("its longest task", longest ? `${longest.toFixed(0)} ms` : "under 50 ms", "100 ms");
  const typed: number[] = [];
  for (const text of ["m", "mo", "mod", "model-2", "model-29", "model-2", "mod", ""])
    typed.push(await page.evaluate(async (value) => {
      const input = document.querySelector<HTMLInputElement>("main [data-filter]")!;
      const began = performance.now();
      input.value = value;
      input.dispatchEvent(new InputEvent("input", { bubbles: true }));
      await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
      return performance.now() - began;
    }, text));
  note("a letter typed into the filter until it is drawn, worst of 8", `${Math.max(...typed).toFixed(0)} ms`, "100 ms");
  stop();
}), 120_000);

test("heap over hours", () => scene(async (page, stage, context) => {
  script(stage, [model("m", "ready")]);
  await withoutWorker(page);
  await page.goto(`${stage.url}/ui/logs`);
  await page.locator(connected).waitFor();
  const cdp = await context.newCDPSession(page);
  note("JavaScript heap at the start, hub included", `${(await heapOf(cdp)).toFixed(1)} MB`);
  const hours = Number(process.env["HOURS"] ?? 8);
  const begin = Date.now() - hours * 3_600_000;
  const heaps: number[] = [];
  let sent = 0;
  for (let hour = 0; hour < hours; hour++) {
    sent += await anHour(page, stage, begin + hour * 3_600_000);
    await goRound(page);
    heaps.push(await heapOf(cdp));
  }
  note("after one simulated hour at 50 messages a second, every page visited", `${heaps[0]!.toFixed(1)} MB`, "60 MB");
  note(`after ${hours} hours (${sent.toLocaleString("en")} messages)`, `${heaps.at(-1)!.toFixed(1)} MB`, "flat");
  note("each hour's heap", `${heaps.map((mb) => mb.toFixed(1)).join(", ")} MB`);
  expect(sent).toBeGreaterThan(hours * 170_000);
}), 600_000);
