// What a running page costs: the main thread's own time, its long tasks, its heap after a collection.
import type { BrowserContext, CDPSession, Page } from "playwright-core";
import { flight, model, settled } from "./harness";
import type { Stage } from "./stage";

/** A main thread this busy has no time left. Tests ask for no more: how long work takes is the machine's. */
export const SATURATED = 0.8;

/** Share of one core that the page's main thread takes while `work` goes on: its own time, whatever else runs here. */
export async function busyShare(page: Page, context: BrowserContext, work: () => Promise<unknown>): Promise<number> {
  const cdp = await context.newCDPSession(page);
  await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
  const taken = async () => (await cdp.send("Performance.getMetrics")).metrics.find((item) => item.name === "TaskDuration")!.value;
  const before = await taken();
  const began = performance.now();
  await work();
  const share = ((await taken()) - before) / ((performance.now() - began) / 1000);
  await cdp.detach();
  return share;
}

/** Call before the page is opened: every task over 50 ms is noted from then on. */
export async function noteLongTasks(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const noted = ((globalThis as unknown as { longTasks: number[] }).longTasks = [] as number[]);
    new PerformanceObserver((list) => noted.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: "longtask", buffered: true });
  });
}

/** The longest task since the last call, ms; 0: none reached 50. */
export const longestTask = (page: Page): Promise<number> => page.evaluate(() => Math.max(0, ...(globalThis as unknown as { longTasks: number[] }).longTasks.splice(0)));

/** MB of JavaScript heap in use after a full collection. */
export async function heapOf(cdp: CDPSession): Promise<number> {
  for (let i = 0; i < 3; i++) await cdp.send("HeapProfiler.collectGarbage");
  return ((await cdp.send("Runtime.getHeapUsage")) as { usedSize: number }).usedSize / 1e6;
}

/** The stream and the histories in one heap, the page's: nothing of them hides in a worker. */
export async function withoutWorker(page: Page): Promise<void> {
  await page.addInitScript(() => void delete (globalThis as { SharedWorker?: unknown }).SharedWorker);
}

const iso = (at: number): string => new Date(at).toISOString();
const states = ["starting", "ready", "stopping", "stopped"];

/**
 * What a busy server says in an hour, as fast as the page takes it: 50 messages for each second of
 * it (log lines, requests in flight, records, samples, states, decisions). Returns how many.
 */
export async function anHour(page: Page, stage: Stage, begin: number): Promise<number> {
  let sent = 0;
  const send = (type: string, data: unknown) => {
    sent += 1;
    stage.send(type, data);
  };
  for (let second = 0; second < 3600; second++) {
    const at = begin + second * 1000;
    for (let i = 0; i < 44; i++) send("logData", { source: i % 2 ? "proxy" : "upstream", data: `${iso(at)} [INFO] message ${second * 44 + i} of a server that has a lot to say about its work\n` });
    for (const name of ["a", "b"]) send("inflight", { operation: "upsert", request: flight(String(second), name, { timestamp: iso(at), resp_bytes: 100 }) });
    send("inflight", { operation: "remove", id: String(second) });
    send("activity", { id: second });
    if (second % 5 === 0) send("perf", sample(at));
    if (second % 10 === 0) send("modelStatus", [0, 1, 2, 3].map((i) => model(`model-${i}`, states[(second / 10 + i) % 4]!, { since: iso(at) })));
    if (second % 30 === 0) send("decision", { time: iso(at), model: `model-${second % 4}`, evicted: ["model-1"], reason: "a request waited", waiters: 1, oldest_wait: 1.5, estimate: 3, kind: "swap" });
    if (second % 20 === 19) await stage.drained();
  }
  const last = `of the hour that began ${iso(begin)}`;
  stage.send("logData", { source: "proxy", data: `the end ${last}\n` });
  await settled(() => page.getByText(last).first().isVisible(), 120_000);
  return sent;
}

const sample = (at: number) => ({
  sys: { timestamp: iso(at), cpu_util_per_core: Array.from({ length: 16 }, (_, i) => i), mem_total_mb: 64_000, mem_used_mb: 20_000, mem_free_mb: 44_000, swap_total_mb: 0, swap_used_mb: 0, load_avg_1: 1, load_avg_5: 1, load_avg_15: 1, net_io: [{ name: "eth0", bytes_recv: at, bytes_sent: at }] },
  gpu: [0, 1].map((id) => ({ timestamp: iso(at), id, name: "RTX 3090", uuid: `u${id}`, temp_c: 50, vram_temp_c: 60, gpu_util_pct: 40, mem_util_pct: 50, mem_used_mb: 8192, mem_total_mb: 24_576, fan_speed_pct: 30, power_draw_w: 200 })),
});

/** Visit the pages that keep histories, and come back to the log. */
export async function goRound(page: Page): Promise<void> {
  for (const name of ["Overview", "Models", "Activity", "Performance", "Timeline", "Logs"]) {
    await page.locator(".nav").getByRole("link", { name, exact: true }).first().click();
    await page.getByRole("heading", { name, level: 1 }).waitFor();
  }
}

/** Log messages at a steady rate until stopped. */
export function steadily(stage: Stage, perSecond: number): () => void {
  const began = performance.now();
  let n = 0;
  const timer = setInterval(() => {
    for (const due = ((performance.now() - began) / 1000) * perSecond; n < due; n++) stage.send("logData", { source: n % 2 ? "proxy" : "upstream", data: `2026-01-01 12:00:00 [INFO] message number ${n} with some more words to be of a usual length\n` });
  }, 15);
  return () => clearInterval(timer);
}

/** A list of models of which one changes its state 30 times a second, until stopped. */
export function restless(stage: Stage, list: ReturnType<typeof model>[]): { stop: () => void; changes: () => number } {
  let turn = 0;
  const began = performance.now();
  const timer = setInterval(() => {
    for (const due = ((performance.now() - began) / 1000) * 30; turn < due; turn++) {
      const at = (turn * 7) % list.length;
      list[at] = { ...list[at]!, state: states[turn % 4]! };
      stage.send("modelStatus", list);
    }
  }, 15);
  return { stop: () => clearInterval(timer), changes: () => turn };
}
