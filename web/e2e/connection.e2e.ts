import { describe, expect } from "vitest";
import { check, model, pause, script, settled } from "./harness";
import { withoutWorker } from "./gauges";
import { startProgram } from "./program";

const connected = "#connection:has-text('Connected')";
const names = (page: import("playwright-core").Page) => page.locator("tr[data-model]:not([hidden])").evaluateAll((rows) => rows.map((row) => row.getAttribute("data-model")));

describe("connection", () => {
  check("UI-11", "before the first message there are skeletons and no zeros", async ({ page, stage, go }) => {
    stage.events = "held";
    stage.on("GET", /metrics\/activity/, () => undefined);
    await go();
    await page.getByText("Connecting").waitFor();
    await page.getByRole("status", { name: "Loading models" }).waitFor();
    const text = await page.locator("main").innerText();
    expect(text).not.toMatch(/no models|nothing is loaded|0 of 0/i);
    await page.goto(`${stage.url}/ui/models`);
    await page.getByRole("status", { name: "Loading models" }).waitFor();
    expect(await page.locator("main").innerText()).not.toMatch(/no models/i);
  });

  check("UI-12", "a lost stream is told, retried with growing pauses, and swapped in one step", async ({ page, stage, go, allow }) => {
    allow(/ERR_/, /503/);
    script(stage, [model("before-1", "ready"), model("before-2")]);
    await go("/ui/models");
    await page.locator(connected).waitFor();
    await page.evaluate(() => {
      const kept = ((globalThis as unknown as { kept: { lists: string[]; told: number; barred: number } }).kept = { lists: [] as string[], told: 0, barred: 0 });
      new MutationObserver(() => {
        const ids = [...document.querySelectorAll("tr[data-model]")].map((row) => row.getAttribute("data-model")).join(",");
        if (kept.lists.at(-1) !== ids) kept.lists.push(ids);
        if (document.querySelector("#connection")!.textContent!.includes("Disconnected")) kept.told ||= performance.now();
        if ([...document.querySelectorAll(".banner")].some((bar) => bar.textContent!.includes("Connection lost"))) kept.barred ||= performance.now();
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
    await settled(() => stage.attempts.length >= 3, 20_000);
    expect(await names(page)).toEqual(["before-1", "before-2"]); // what was known stays
    script(stage, [model("after-1", "ready")]); // ten seconds after the loss the fourth attempt finds it
    await page.locator('tr[data-model="after-1"]').waitFor();
    await page.locator(connected).waitFor();
    const waits = stage.attempts.slice(0, 4).map((at, i) => at - (stage.attempts[i - 1] ?? lost));
    expect(waits.length).toBe(4);
    for (const [i, about] of [1_000, 2_000, 4_000, 5_000].entries()) {
      expect(waits[i]!).toBeGreaterThan(about * 0.75);
      expect(waits[i]!).toBeLessThan(about * 1.2 + 2_500); // a busy machine may be late, never early
    }
    const kept = await page.evaluate(() => (globalThis as unknown as { kept: { lists: string[]; told: number; barred: number } }).kept);
    expect(kept.lists).toEqual(["before-1,before-2", "after-1"].slice(-kept.lists.length));
    expect(kept.barred - kept.told).toBeGreaterThan(2_500);
  });

  check("UI-13", "a silent stream counts as lost after 45 s and is opened anew", async ({ page, stage, go }) => {
    await withoutWorker(page); // so that the page's clock is that of the stream too
    await page.clock.install();
    script(stage, [model("m")]);
    await go();
    await page.locator(connected).waitFor();
    stage.attempts = [];
    await page.clock.fastForward(40_000);
    await pause(300);
    expect(await page.locator(connected).count()).toBe(1);
    await page.clock.fastForward(6_000);
    await page.locator("#connection:has-text('Disconnected')").waitFor();
    expect(stage.attempts).toEqual([]);
    await page.clock.fastForward(1_300);
    await settled(() => stage.attempts.length === 1);
    await page.locator(connected).waitFor();
  });

  check("UI-13", "a ping is enough for a stream to count as alive", async ({ page, stage, go }) => {
    await withoutWorker(page);
    await page.clock.install();
    script(stage, [model("m")]);
    await go();
    await page.locator(connected).waitFor();
    stage.attempts = [];
    for (let i = 0; i < 5; i++) {
      await page.clock.fastForward(30_000);
      stage.raw(":\n\n");
      await pause(200);
    }
    expect(await page.locator(connected).count()).toBe(1);
    expect(stage.attempts).toEqual([]);
  });

  check("UI-13", "in the worker too a silent stream is opened anew", async ({ page, stage, go }) => {
    stage.timing = "silence=1500";
    script(stage, [model("m")]);
    await go();
    await page.locator(connected).waitFor();
    stage.attempts = [];
    await settled(() => stage.attempts.length >= 1);
    await page.locator(connected).waitFor();
  });

  check("UI-14", "Retry now does not wait", async ({ page, stage, go, allow }) => {
    allow(/ERR_/, /503/);
    script(stage, [model("m")]);
    await go();
    await page.locator(connected).waitFor();
    stage.events = "refused";
    stage.drop();
    await page.locator(".banner", { hasText: "Connection lost" }).waitFor();
    script(stage, [model("m")]);
    const before = stage.attempts.length;
    const at = Date.now();
    await page.getByRole("button", { name: "Retry now" }).click();
    await settled(() => stage.attempts.length > before, 2_000);
    expect(stage.attempts.at(-1)! - at).toBeLessThan(1_000);
    await page.locator(connected).waitFor();
  });

  check("UI-15", "ten tabs share one stream, and each stays quick", async ({ page, stage, open, go, url }) => {
    await go("/ui/models");
    const tabs = [page];
    for (let i = 0; i < 9; i++) tabs.push(await open());
    await Promise.all(tabs.slice(1).map((tab) => tab.goto(`${url}/ui/models`)));
    for (const tab of tabs) await tab.locator(connected).waitFor();
    expect(stage.streams.size).toBe(1);
    const last = tabs.at(-1)!;
    const took = await last.evaluate(async (address) => {
      const began = performance.now();
      await (await fetch(address)).json();
      return performance.now() - began;
    }, `${url}/api/version`);
    expect(took).toBeLessThan(5_000); // 500 ms on a quiet machine; behind six held connections it would wait for ever
    await fetch(`${url}/v1/embeddings`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ model: "demo-embed", input: "x" }) });
    for (const tab of tabs) await tab.locator('tr[data-model="demo-embed"]', { hasText: "Ready" }).waitFor({ timeout: 20_000 });
    await fetch(`${url}/api/models/unload/demo-embed`, { method: "POST" });
    for (const tab of tabs) await tab.locator('tr[data-model="demo-embed"]', { hasText: "Stopped" }).waitFor({ timeout: 20_000 });
  });

  check("UI-16", "without SharedWorker each tab streams itself, and one hidden for 30 s gives its stream back", async ({ page, stage, context, open, url }) => {
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
    await page.goto(`${url}/ui/`);
    const other = await open();
    await other.clock.install();
    await other.goto(`${url}/ui/`);
    for (const tab of [page, other]) await tab.locator(connected).waitFor();
    expect(stage.streams.size).toBe(2);
    const ping = async () => {
      stage.raw(":\n\n");
      await pause(200);
    };
    await other.evaluate(() => (globalThis as unknown as { hide: (on: boolean) => void }).hide(true));
    await other.clock.runFor(25_000);
    await ping();
    expect(stage.streams.size).toBe(2);
    await other.clock.runFor(12_000);
    await settled(() => stage.streams.size === 1);
    await other.evaluate(() => (globalThis as unknown as { hide: (on: boolean) => void }).hide(false));
    await settled(() => stage.streams.size === 2);
    await other.locator(connected).waitFor();
    expect(await page.locator(connected).count()).toBe(1);
  });

  check("UI-17", "bad messages cost themselves only, and are counted", async ({ page, stage, go }) => {
    script(stage, [model("m")]);
    await go("/ui/settings");
    await page.locator(connected).waitFor();
    stage.raw("event:message\ndata:this is no json\n\n");
    stage.raw(`event:message\ndata:{"type":"inflight","data":"{broken"}\n\n`);
    stage.send("inflight", { operation: "dance" });
    stage.send("inflight", { operation: "upsert" });
    stage.send("somethingNew", {});
    stage.send("modelStatus", [model("later", "ready")]);
    await page.locator("#diagnostics", { hasText: "4 bad, 1 of unknown type" }).waitFor();
    await page.locator(".strip", { hasText: "later" }).waitFor();
  });

  check("UI-18", "a server with a newer build is noticed after the reconnect", async ({ page, stage, go, allow }) => {
    allow(/ERR_/, /502/);
    const first = await startProgram();
    const port = new URL(first.url).port;
    (stage as unknown as { upstream: string }).upstream = first.url;
    await go();
    await page.locator(connected).waitFor();
    await first.stop();
    await page.locator("#connection:has-text('Disconnected')").waitFor();
    stage.on("GET", /build\.json/, { json: { build: "newer", entry: "assets/index-newer.js", version: "9" } });
    const second = await startProgram([], `127.0.0.1:${port}`);
    try {
      await page.locator(connected).waitFor({ timeout: 15_000 });
      await page.getByRole("button", { name: "Reload to update" }).waitFor();
    } finally {
      await second.stop();
    }
  });

  check("UI-19", "a refused key asks to sign in, stops trying, and goes on afterwards", async ({ page, stage, go, allow }) => {
    allow(/401/);
    script(stage, [model("m")]);
    stage.on("GET", /^\/api\//, { status: 401, json: { error: { message: "no key" } } });
    await go("/ui/models");
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    const before = stage.requests("GET", /api\/events/).length;
    await pause(1_500);
    expect(stage.requests("GET", /api\/events/).length - before).toBeLessThanOrEqual(1);
    stage.off();
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.locator('tr[data-model="m"]').waitFor();
  });
});
