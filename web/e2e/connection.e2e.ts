import { describe, expect } from "vitest";
import { check, model, pause, script, settled } from "./harness";
import { startProgram } from "./program";

const connected = "#connection:has-text('Connected')";

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
      const seen = ((globalThis as unknown as { seen: string[] }).seen = [] as string[]);
      new MutationObserver(() => {
        const ids = [...document.querySelectorAll("tr[data-model]")].map((row) => row.getAttribute("data-model")).join(",");
        if (seen.at(-1) !== ids) seen.push(ids);
      }).observe(document.querySelector("main")!, { childList: true, subtree: true });
    });
    stage.events = "refused";
    stage.attempts = [];
    const lost = Date.now();
    stage.drop();
    await page.locator("#connection:has-text('Disconnected')").waitFor({ timeout: 1_000 });
    expect(await page.title()).toMatch(/^! /);
    expect(await page.locator(".banner", { hasText: "Connection lost" }).count()).toBe(0);
    await page.locator(".banner", { hasText: /Connection lost – retrying in \d+ s/ }).waitFor({ timeout: 5_000 });
    expect(Date.now() - lost).toBeGreaterThan(2_500);
    await page.getByRole("button", { name: "Unload before-1" }).isDisabled().then((off) => expect(off).toBe(true));
    await page.locator("#connection", { hasText: /as of \d\d:\d\d:\d\d/ }).waitFor();
    await settled(() => stage.attempts.length >= 3, 10_000);
    const waits = stage.attempts.map((at, i) => at - (stage.attempts[i - 1] ?? lost));
    for (const [i, about] of [1_000, 2_000, 4_000].entries()) {
      expect(waits[i]!).toBeGreaterThan(about * 0.75);
      expect(waits[i]!).toBeLessThan(about * 1.2 + 900);
    }
    script(stage, [model("after-1", "ready")]);
    await page.getByRole("button", { name: "Retry now" }).click();
    await page.locator('tr[data-model="after-1"]').waitFor();
    const seen = await page.evaluate(() => (globalThis as unknown as { seen: string[] }).seen);
    expect(seen.filter(Boolean)).toEqual(["after-1"]);
    expect(seen).not.toContain("");
  });

  check("UI-13", "a silent stream counts as lost and is opened anew", async ({ page, stage, go }) => {
    stage.timing = "silence=1500";
    script(stage, [model("m")]);
    await go();
    await page.locator(connected).waitFor();
    stage.attempts = [];
    await page.locator("#connection:has-text('Disconnected')").waitFor({ timeout: 5_000 });
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
    expect(took).toBeLessThan(500);
    await fetch(`${url}/v1/embeddings`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ model: "demo-embed", input: "x" }) });
    for (const tab of tabs) await tab.locator('tr[data-model="demo-embed"]', { hasText: "Ready" }).waitFor({ timeout: 20_000 });
    await fetch(`${url}/api/models/unload/demo-embed`, { method: "POST" });
    for (const tab of tabs) await tab.locator('tr[data-model="demo-embed"]', { hasText: "Stopped" }).waitFor({ timeout: 20_000 });
  });

  check("UI-16", "without SharedWorker each tab streams itself, and a hidden one gives its stream back", async ({ page, stage, context, open, url }) => {
    stage.timing = "release=700";
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
    await other.goto(`${url}/ui/`);
    for (const tab of [page, other]) await tab.locator(connected).waitFor();
    expect(stage.streams.size).toBe(2);
    await other.evaluate(() => (globalThis as unknown as { hide: (on: boolean) => void }).hide(true));
    await settled(() => stage.streams.size === 1);
    await other.evaluate(() => (globalThis as unknown as { hide: (on: boolean) => void }).hide(false));
    await settled(() => stage.streams.size === 2);
    await other.locator(connected).waitFor();
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
