import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { describe, expect } from "vitest";
import { check, CONNECTED, model, pause, script, settled, visit } from "./harness";
import { withoutWorker } from "./gauges";
import { startProgram } from "./program";
import type { Stage } from "./stage";

const names = (page: Page) => page.locator("tr[data-model]:not([hidden])").evaluateAll((rows) => rows.map((row) => row.getAttribute("data-model")));

/** Time is this check's: it stands still but when it is moved. The page's stream is its own, so that its clock is too. */
async function ownTime(page: Page): Promise<void> {
  await withoutWorker(page);
  await page.clock.install();
  await page.addInitScript(() => {
    const later = globalThis.setTimeout.bind(globalThis);
    (globalThis as unknown as { heard: number }).heard = 0;
    globalThis.setTimeout = ((run: () => void, ms?: number) => {
      if (ms === 45_000) (globalThis as unknown as { heard: number }).heard += 1;
      return later(run, ms);
    }) as typeof setTimeout;
  });
}

const stopTime = (page: Page): Promise<void> => page.clock.pauseAt(Date.now() + 20_000);

/** Send what keeps a stream alive, until the page has taken it: it waits anew for 45 s from then on. */
async function ping(page: Page, stage: Stage): Promise<void> {
  const heard = () => page.evaluate(() => (globalThis as unknown as { heard: number }).heard);
  const before = await heard();
  stage.raw(":\n\n");
  await settled(async () => (await heard()) > before);
}

describe("connection", () => {
  check("UI-11", "before the first message there are skeletons and no zeros", async ({ page, stage, load }) => {
    stage.events = "held";
    stage.on("GET", /metrics\/activity/, () => undefined);
    await load();
    await page.getByText("Connecting").waitFor();
    await page.getByRole("status", { name: "Loading models" }).waitFor();
    const text = await page.locator("main").innerText();
    expect(text).not.toMatch(/no models|nothing is loaded|0 of 0/i);
    await load("/ui/models");
    await page.getByRole("status", { name: "Loading models" }).waitFor();
    expect(await page.locator("main").innerText()).not.toMatch(/no models/i);
  });

  check("UI-12", "a lost stream is told, retried with growing pauses, and swapped in one step", async ({ page, stage, go, allow }) => {
    allow(/ERR_/, /503/);
    script(stage, [model("before-1", "ready"), model("before-2")]);
    await go("/ui/models");
    await page.evaluate(() => {
      const kept = ((globalThis as unknown as { kept: { lists: string[]; barred: number } }).kept = { lists: [] as string[], barred: 0 });
      new MutationObserver(() => {
        const ids = [...document.querySelectorAll("tr[data-model]")].map((row) => row.getAttribute("data-model")).join(",");
        if (kept.lists.at(-1) !== ids) kept.lists.push(ids);
        if ([...document.querySelectorAll(".banner")].some((bar) => bar.textContent!.includes("Connection lost"))) kept.barred ||= Date.now();
      }).observe(document.body, { childList: true, subtree: true, characterData: true });
    });
    stage.events = "refused";
    stage.attempts = [];
    const lost = Date.now();
    stage.drop();
    await page.locator("#connection:has-text('Disconnected')").waitFor();
    await settled(async () => (await page.title()).startsWith("! "));
    await page.locator(".banner", { hasText: /Connection lost – retrying in \d+ s/ }).waitFor();
    expect(await page.getByRole("button", { name: "Unload before-1" }).isDisabled()).toBe(true);
    await page.locator("#connection", { hasText: /as of \d\d:\d\d:\d\d/ }).waitFor();
    await settled(() => stage.attempts.length >= 3, 30_000);
    expect(await names(page)).toEqual(["before-1", "before-2"]); // what was known stays
    script(stage, [model("after-1", "ready")]); // ten seconds after the loss the fourth attempt finds it
    await page.locator('tr[data-model="after-1"]').waitFor();
    await page.locator(CONNECTED).waitFor();
    const waits = stage.attempts.slice(0, 4).map((at, i) => at - (stage.attempts[i - 1] ?? lost));
    expect(waits.length).toBe(4);
    // a busy machine may be late, never early; a unit test has the exact pauses
    for (const [i, about] of [1_000, 2_000, 4_000, 5_000].entries()) expect(waits[i]!).toBeGreaterThan(about * 0.75);
    const kept = await page.evaluate(() => (globalThis as unknown as { kept: { lists: string[]; barred: number } }).kept);
    expect(kept.lists).toEqual(["before-1,before-2", "after-1"].slice(-kept.lists.length));
    expect(kept.barred - lost).toBeGreaterThan(2_990); // clocks of two processes differ by some ms
  });

  check("UI-13", "a silent stream counts as lost after 45 s and is opened anew", async ({ page, stage, go }) => {
    await ownTime(page);
    script(stage, [model("m")]);
    await go();
    await stopTime(page);
    await ping(page, stage);
    stage.attempts = [];
    await page.clock.fastForward(44_900);
    expect(await page.locator(CONNECTED).count()).toBe(1);
    await page.clock.fastForward(200);
    await page.locator("#connection:has-text('Disconnected')").waitFor();
    await page.clock.fastForward(790); // the pause is one second, more or less a fifth
    expect(stage.attempts).toEqual([]);
    await page.clock.fastForward(420);
    await settled(() => stage.attempts.length === 1);
    await page.locator(CONNECTED).waitFor();
    await page.clock.resume();
  });

  check("UI-13", "a ping is enough for a stream to count as alive", async ({ page, stage, go }) => {
    await ownTime(page);
    script(stage, [model("m")]);
    await go();
    await stopTime(page);
    stage.attempts = [];
    for (let i = 0; i < 5; i++) {
      await ping(page, stage);
      await page.clock.fastForward(44_000);
    }
    expect(await page.locator(CONNECTED).count()).toBe(1);
    expect(stage.attempts).toEqual([]);
    await page.clock.resume();
  });

  check("UI-13", "in the worker too a silent stream is opened anew", async ({ page, stage, go }) => {
    stage.timing = "silence=1500";
    script(stage, [model("m")]);
    await go();
    stage.attempts = [];
    await settled(() => stage.attempts.length >= 1);
    await page.locator(CONNECTED).waitFor();
  });

  check("UI-14", "Retry now does not wait", async ({ page, stage, go, allow }) => {
    allow(/ERR_/, /503/);
    await ownTime(page);
    script(stage, [model("m")]);
    await go();
    await stopTime(page);
    stage.events = "refused";
    stage.attempts = [];
    stage.drop();
    await page.locator("#connection:has-text('Disconnected')").waitFor();
    await page.clock.fastForward(3_500);
    await page.locator(".banner", { hasText: "Connection lost" }).waitFor();
    await settled(() => stage.attempts.length === 1);
    script(stage, [model("m")]);
    await page.getByRole("button", { name: "Retry now" }).click();
    await page.locator(CONNECTED).waitFor(); // without any time
    expect(stage.attempts.length).toBe(2);
    await page.clock.resume();
  });

  check("UI-15", "ten tabs share one stream, and each stays quick", async ({ page, stage, open, go, url }) => {
    await go("/ui/models");
    const tabs = [page, ...(await Promise.all(Array.from({ length: 9 }, () => open("/ui/models"))))];
    expect(stage.streams.size).toBe(1);
    // behind six held connections it would wait for ever
    expect(await tabs.at(-1)!.evaluate(async (address) => (await fetch(address)).status, `${url}/api/version`)).toBe(200);
    await fetch(`${url}/v1/embeddings`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ model: "demo-embed", input: "x" }) });
    for (const tab of tabs) await tab.locator('tr[data-model="demo-embed"]', { hasText: "Ready" }).waitFor();
    await fetch(`${url}/api/models/unload/demo-embed`, { method: "POST" });
    for (const tab of tabs) await tab.locator('tr[data-model="demo-embed"]', { hasText: "Stopped" }).waitFor();
  });

  check("UI-16", "without SharedWorker each tab streams itself, and one hidden for 30 s gives its stream back", async ({ page, stage, context, go, open, url }) => {
    await context.addInitScript(() => {
      delete (globalThis as { SharedWorker?: unknown }).SharedWorker;
      let hidden = false;
      Object.defineProperty(document, "hidden", { get: () => hidden });
      (globalThis as unknown as { hide: (on: boolean) => void }).hide = (on) => {
        hidden = on;
        document.dispatchEvent(new Event("visibilitychange"));
      };
    });
    script(stage, [model("m")]);
    await go();
    const other = await open();
    await ownTime(other);
    await visit(other, `${url}/ui/`);
    expect(stage.streams.size).toBe(2);
    await stopTime(other);
    await ping(other, stage);
    await other.evaluate(() => (globalThis as unknown as { hide: (on: boolean) => void }).hide(true));
    await other.clock.runFor(29_000);
    expect(stage.streams.size).toBe(2);
    await other.clock.runFor(8_000);
    await settled(() => stage.streams.size === 1);
    await other.evaluate(() => (globalThis as unknown as { hide: (on: boolean) => void }).hide(false));
    await settled(() => stage.streams.size === 2);
    await other.locator(CONNECTED).waitFor();
    expect(await page.locator(CONNECTED).count()).toBe(1);
    await page.clock.resume(); // one clock for the pages of a context
  });

  check("UI-17", "bad messages cost themselves only, and are counted", async ({ page, stage, go }) => {
    script(stage, [model("m")]);
    await go("/ui/settings");
    stage.raw("event:message\ndata:this is no json\n\n");
    stage.raw(`event:message\ndata:{"type":"inflight","data":"{broken"}\n\n`);
    stage.send("inflight", { operation: "dance" });
    stage.send("inflight", { operation: "upsert" });
    stage.send("somethingNew", {});
    stage.send("modelStatus", [model("later", "ready")]);
    await page.locator("#diagnostics", { hasText: "4 bad, 1 of unknown type" }).waitFor();
    await page.locator(".strip", { hasText: "later" }).waitFor();
    stage.on("GET", /^\/logs\/stream\/proxy\?no-follow$/, { text: "a line\nAuthorization: Bearer s3cret.word\n" });
    const [bundle] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Diagnostics bundle" }).click()]);
    expect(readFileSync(await bundle.path(), "utf8")).toMatch(/Browser: [^]*\nLast lines of the proxy log\na line\nAuthorization: Bearer \[hidden\]\n$/);
  });

  check("UI-18", "a server with a newer build is noticed after the reconnect", async ({ page, stage, go, allow }) => {
    allow(/ERR_/, /502/);
    const first = await startProgram();
    stage.upstream = first.url;
    await go();
    await first.stop();
    await page.locator("#connection:has-text('Disconnected')").waitFor();
    stage.on("GET", /build\.json/, { json: { build: "newer", entry: "assets/index-newer.js", version: "9" } });
    const second = await startProgram();
    try {
      stage.upstream = second.url;
      await page.locator(CONNECTED).waitFor();
      await page.getByRole("button", { name: "Reload to update" }).waitFor();
    } finally {
      await second.stop();
    }
  });

  check("UI-19", "a refused key asks to sign in, stops trying, and goes on afterwards", async ({ page, stage, load, allow }) => {
    allow(/401/);
    script(stage, [model("m")]);
    stage.on("GET", /^\/api\//, { status: 401, json: { error: { message: "no key" } } });
    await load("/ui/models");
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    const before = stage.requests("GET", /api\/events/).length;
    await pause(1_500);
    expect(stage.requests("GET", /api\/events/).length - before).toBeLessThanOrEqual(1);
    stage.off();
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.locator('tr[data-model="m"]').waitFor();
  });
});
