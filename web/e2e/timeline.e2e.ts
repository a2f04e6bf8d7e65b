// The residency timeline: which model was where in its life when, and who waited for whom.
import type { Locator, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { activityPages, check, flight, model, reload, row, script, settled } from "./harness";
import { configFile, fakeUpstream, python, startProgram, type Program } from "./program";

const MINUTES_5 = 300;

/** What lies on a lane, by kind: when it began and ended, in seconds before now. */
async function bars(page: Page, name: string, kind: string): Promise<[number, number][]> {
  const found = await page.locator(`.lane[aria-label^="${name}:"] .track i.${kind}`).evaluateAll((list) => list.map((item) => [parseFloat((item as HTMLElement).style.left), parseFloat((item as HTMLElement).style.width)] as const));
  return found.map(([left, width]) => [MINUTES_5 * (1 - left / 100), MINUTES_5 * (1 - (left + width) / 100)]);
}

/** Within half a second: what is seen at the edges of a bar was rounded. */
function close(found: [number, number][], wanted: [number, number][]): void {
  expect(found.length, JSON.stringify(found)).toBe(wanted.length);
  for (const [i, edges] of wanted.entries()) for (const [j, edge] of edges.entries()) expect(Math.abs(found[i]![j]! - edge), JSON.stringify([found, wanted])).toBeLessThan(0.5);
}

describe("residency timeline", () => {
  check("UI-76", "lanes tell what loaded, was ready, busy, draining, and who waited for whom", async ({ page, stage, go }) => {
    const began = Date.now();
    const at = (ago: number) => new Date(began - ago * 1000).toISOString();
    const clock = (later: number) => page.clock.setFixedTime(began + later * 1000); // time is this check's
    await clock(0);
    script(stage, [model("a"), model("b", "ready", { since: at(80) }), model("c")], [flight("9", "b", { timestamp: at(20), elapsed_ms: 20_000 })]);
    const change = (model: string, state: string, ago: number, reason = "") => ({ model, state, at: at(ago), reason });
    stage.on("GET", /^\/api\/events\/history/, { json: { events: [change("a", "starting", 280), change("a", "ready", 260), change("a", "stopping", 120, "evict"), change("a", "stopped", 100, "evict"), change("b", "starting", 100), change("b", "ready", 80)] } });
    stage.on("GET", /^\/api\/decisions/, { json: { decisions: [{ time: at(120), model: "b", evicted: ["a"], reason: "the group runs one model at a time", waiters: 1, oldest_wait: 10, estimate: 40, kind: "swap" }] } });
    // a was busy from 240 to 200; another of its requests was under way when it had to go, and was let finish;
    // b's request came 130 s ago, waited for a to go and for b to load, and ran until 60 s ago
    activityPages(stage, () => [row(3, { model: "b", timestamp: at(60), duration_ms: 70_000 }), row(2, { model: "a", timestamp: at(110), duration_ms: 30_000 }), row(1, { model: "a", timestamp: at(200), duration_ms: 40_000 })]);
    await page.addInitScript(() => localStorage.setItem("llamaswap.ui", JSON.stringify({ v: 1, prefs: { timelineRange: "5m" } })));
    await go("/ui/timeline");
    await settled(async () => (await bars(page, "b", "running")).length === 2);
    close(await bars(page, "a", "starting"), [[280, 260]]);
    close(await bars(page, "a", "ready"), [[260, 120]]);
    close(await bars(page, "a", "stopping"), [[120, 100]]);
    close(await bars(page, "a", "running"), [[240, 200], [140, 120]]);
    close(await bars(page, "a", "draining"), [[120, 110]]);
    close(await bars(page, "a", "waits"), []);
    close(await bars(page, "b", "starting"), [[100, 80]]);
    close(await bars(page, "b", "ready"), [[80, 0]]);
    close(await bars(page, "b", "waits"), [[130, 80]]);
    close(await bars(page, "b", "running"), [[80, 60], [20, 0]]);
    for (const kind of ["starting", "ready", "running", "waits"]) close(await bars(page, "c", kind), []);

    // the swap says why, to a pointer and to a keyboard
    const mark = page.locator('.lane[aria-label^="b:"] .mark');
    const told = page.locator(".told");
    const why = "b takes the place of a; 1 request waited, the oldest 10.0 s; the group runs one model at a time; expected to take 40.0 s";
    await mark.hover();
    await settled(async () => (await told.innerText()).includes(why));
    await page.mouse.move(5, 5);
    await settled(async () => (await told.innerText()).includes("Hover or focus"));
    await mark.focus();
    await settled(async () => (await told.innerText()).includes(why));
    expect(await page.locator('.lane[aria-label^="b:"] .link').count()).toBe(1); // from the lane of a, which made room
    await page.getByRole("row", { name: why }).waitFor();

    // live: c is asked for, loads and is ready while we look; everything moves on
    const others = [model("a"), model("b", "ready", { since: at(80) })];
    stage.send("inflight", { operation: "upsert", request: flight("10", "c", { timestamp: at(-2) }) });
    stage.send("modelStatus", [...others, model("c", "starting", { since: at(-4) })]);
    await clock(10);
    await settled(async () => (await bars(page, "c", "starting")).length === 1 && (await bars(page, "c", "waits")).length === 1);
    stage.send("modelStatus", [...others, model("c", "ready", { since: at(-10) })]);
    await clock(20);
    await settled(async () => (await bars(page, "c", "ready")).length === 1 && (await bars(page, "c", "running")).length === 1);
    close(await bars(page, "c", "starting"), [[16, 10]]);
    close(await bars(page, "c", "waits"), [[18, 10]]);
    close(await bars(page, "c", "ready"), [[10, 0]]);
    close(await bars(page, "a", "starting"), [[300, 280]]);

    // back in time, by button and by drag, and to the present
    const live = page.getByRole("button", { name: "Live", exact: true });
    expect(await live.getAttribute("aria-pressed")).toBe("true");
    await page.getByRole("button", { name: "Earlier" }).click();
    await page.getByText("ends 2 m 30 s ago").waitFor();
    expect(await live.getAttribute("aria-pressed")).toBe("false");
    await settled(async () => (await bars(page, "c", "ready")).length === 0);
    await settled(() => stage.requests("GET", /metrics\/activity.*end=/).length > 0);
    expect(await bars(page, "a", "ready")).toHaveLength(1);
    const held = (await bars(page, "a", "ready"))[0]![0];
    await dragged(page, page.locator(".lanes"), 150);
    await settled(async () => (await bars(page, "a", "ready"))[0]![0] < held - 20);
    await live.click();
    await settled(async () => (await bars(page, "c", "ready")).length === 1);
    await page.getByRole("button", { name: "1 h" }).click();
    await settled(async () => (await bars(page, "a", "ready"))[0]![0] < 100); // the same, shorter
  });

  let own: Program;
  beforeAll(async () => {
    const cmd = `${python} ${fakeUpstream} --port \${PORT} --ready-after 0.5`;
    own = await startProgram(["-config", await configFile(`models:\n  first: {cmd: '${cmd}'}\n  second: {cmd: '${cmd}'}\n`)]);
  });
  afterAll(() => own.stop());

  check("UI-77", "a real swap stands on the timeline with the scheduler's own reason, also on the Overview", async ({ page, go }) => {
    await go("/ui/timeline");
    const chat = (name: string) => fetch(`${own.url}/v1/chat/completions`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ model: name, messages: [{ role: "user", content: "hi" }] }) }).then((answer) => answer.text());
    await chat("first");
    await settled(async () => (await bars(page, "first", "ready")).length === 1);
    await chat("second");
    const mark = page.locator('.lane[aria-label^="second:"] .mark').last();
    await mark.focus(); // a pointer at rest would lose it: all moves on
    await settled(async () => (await page.locator(".told").innerText()).includes("second takes the place of first; 1 request waited"));
    await settled(async () => (await bars(page, "second", "ready")).length === 1 && (await bars(page, "second", "starting")).length === 1);
    await page.getByRole("row", { name: /second takes the place of first/ }).waitFor();
    await reload(page); // what happened before the page was opened is known too
    await settled(async () => (await bars(page, "first", "ready")).length === 1 && (await bars(page, "second", "starting")).length === 1);
    await page.locator(".nav").getByRole("link", { name: "Overview" }).click();
    const lane = page.locator('main .lane[aria-label^="second:"]');
    await lane.locator(".mark").last().focus();
    await settled(async () => (await page.locator(".told").innerText()).includes("second takes the place of first"));
    await page.locator(".feed", { hasText: "made room for another model" }).waitFor();
  }, { program: () => own.url });
});

async function dragged(page: Page, what: Locator, by: number): Promise<void> {
  const box = (await what.boundingBox())!;
  const [x, y] = [box.x + box.width / 2, box.y + box.height - 8];
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x + by / 2, y);
  await page.mouse.move(x + by, y);
  await page.mouse.up();
}
