// What every check stands on: the program, a stage in front of it, a page of its own; and what every
// check asserts at its end: no error in the console, no request that failed unasked, axe clean.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { chromium as playwright, type Browser, type BrowserContext, type Page, type Request } from "playwright-core";
import { expect, inject, test } from "vitest";
import { chromium, FLAGS } from "./chromium";
import { Stage, type Seen } from "./stage";

export { flight, model, row, script } from "./told";

let browser: Promise<Browser> | undefined;

export const theBrowser = (): Promise<Browser> => (browser ??= playwright.launch({ executablePath: chromium()!, args: FLAGS, headless: true }));
/** The address of this worker's program with its demo models, one for all checks that only read or load. */
export const demo = (): string => inject("demos")[Number(process.env["VITEST_POOL_ID"] ?? 1) - 1]!;
process.once("disconnect", () => process.exit(1)); // the run was killed

/** How many times as slow as it is the page's processor shall be: to see what depends on its speed. */
export const slow = Number(process.env["LLAMASWAP_UI_THROTTLE"] ?? 1);

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export interface Scene {
  page: Page;
  context: BrowserContext;
  stage: Stage;
  url: string;
  /** Another page with the same care; with a path, that page, ready. */
  open: (path?: string) => Promise<Page>;
  /** Console errors and failed requests that the check provokes. */
  allow: (...patterns: RegExp[]) => void;
  /** Open a page of the UI and wait until it is ready. */
  go: (path?: string) => Promise<void>;
  /** The same, of one that has no connection: it is only loaded. */
  load: (path?: string) => Promise<void>;
}

export interface Options {
  /** The address of another program than the shared one. */
  program?: () => string;
  mount?: string;
  width?: number;
  height?: number;
  dark?: boolean;
  context?: Record<string, unknown>;
  init?: (scene: Scene) => void | Promise<void>;
  axe?: boolean;
  /** ms; for checks that last by their nature. */
  timeout?: number;
}

export function check(id: string, title: string, run: (scene: Scene) => Promise<void>, options: Options = {}): void {
  test(`${id}: ${title}`, async () => {
    const stage = await new Stage((options.program ?? demo)(), options.mount ?? "").start();
    // without motion: half-way from one look to the next, colours are not those that people read and places not those that stay
    const context = await (await theBrowser()).newContext({ viewport: { width: options.width ?? 1280, height: options.height ?? 800 }, colorScheme: options.dark ? "dark" : "light", reducedMotion: "reduce", ...options.context });
    context.setDefaultTimeout(30_000 * slow);
    const problems: string[] = [];
    const allowed: RegExp[] = [/favicon/];
    const watch = (page: Page) => {
      page.on("console", (message) => {
        if (message.type() === "error" || /Content Security Policy|TrustedHTML|TrustedScript/i.test(message.text())) problems.push(`console: ${message.text()} ${message.location().url}`);
      });
      page.on("pageerror", (error) => problems.push(`exception: ${error.stack ?? error.message}`));
      page.on("requestfailed", (request) => {
        if (!/ERR_ABORTED/.test(request.failure()?.errorText ?? "")) problems.push(`failed: ${request.url()} ${request.failure()?.errorText}`);
      });
      noteRequests(page);
    };
    const url = stage.url + (options.mount ?? "");
    const open = async (path?: string) => {
      const page = await context.newPage();
      watch(page);
      if (path !== undefined) await visit(page, url + path);
      return page;
    };
    const page = await open();
    // this one only: what slows a page down takes all of a processor
    if (slow > 1) await (await context.newCDPSession(page)).send("Emulation.setCPUThrottlingRate", { rate: slow });
    const scene: Scene = {
      page, context, stage, url, open,
      allow: (...patterns) => allowed.push(...patterns),
      go: (path = "/ui/") => visit(page, url + path),
      load: async (path = "/ui/") => void (await page.goto(url + path)),
    };
    try {
      await options.init?.(scene);
      await run(scene);
      if (options.axe !== false) await axeClean(page);
      expect(problems.filter((problem) => !allowed.some((pattern) => pattern.test(problem)))).toEqual([]);
    } finally {
      await context.close();
      await stage.stop();
    }
  }, options.timeout && options.timeout * slow);
}

// --- when a page is ready ---------------------------------------------------------------------------

export const CONNECTED = "#connection:has-text('Connected')";

/** Open a page of the UI and wait until it is ready: what a check does next finds it as a user finds it. */
export async function visit(page: Page, address: string): Promise<void> {
  await page.goto(address);
  await ready(page);
}

export async function reload(page: Page): Promise<void> {
  await page.reload();
  await ready(page);
}

/** Until the page is connected, has drawn the first snapshot and its own part, and has asked all it asks. */
export async function ready(page: Page): Promise<void> {
  await page.locator(CONNECTED).waitFor({ state: "attached" });
  await page.locator('.strip a[href$="/activity"]').waitFor({ state: "attached" });
  await page.locator('main [aria-label="Loading the page"]').waitFor({ state: "detached" });
  await quiet(page);
}

const waiting = new WeakMap<Page, Set<Request>>();
/** Answers that go on for as long as they are looked at, and the worker's file, of which the browser tells no end. */
const ENDLESS = /\/api\/events(\?|$)|\/logs\/stream|\/assets\/shared-|^(data|blob):/;

function noteRequests(page: Page): void {
  const open = new Set<Request>();
  waiting.set(page, open);
  page.on("request", (request) => {
    if (!ENDLESS.test(request.url())) open.add(request);
  });
  page.on("requestfinished", (request) => open.delete(request));
  page.on("requestfailed", (request) => open.delete(request));
}

/** What the page put off until it was drawn has been done: effects run a frame later. */
export const drawn = (page: Page): Promise<void> => page.evaluate(() => new Promise<void>((resolve) => requestAnimationFrame(() => setTimeout(() => requestAnimationFrame(() => setTimeout(resolve))))));

/** Until every question of the page is answered, what it drew of that has asked nothing more, and no timer of `ms` is left. */
export async function quiet(page: Page, ms = 0): Promise<void> {
  const open = waiting.get(page)!;
  if (ms) await page.evaluate((wait) => new Promise((resolve) => setTimeout(resolve, wait)), ms);
  let asked = true;
  const note = () => (asked = true);
  page.on("request", note);
  try {
    while (asked) {
      await settled(() => open.size === 0).catch(() => expect([...open].map((request) => request.url()), "questions without an answer").toEqual([]));
      asked = false;
      await drawn(page);
    }
  } finally {
    page.off("request", note);
  }
}

/** Do something that makes the page ask; the request, once it has arrived. Only then may the stage answer otherwise. */
export async function asks(stage: Stage, method: string, path: RegExp, act: () => Promise<unknown>): Promise<Seen> {
  const before = stage.requests(method, path).length;
  await act();
  return settled(() => stage.requests(method, path)[before]);
}

/** Escape, until the dialog it closes is gone: what is behind takes neither keys nor focus before. */
export async function escape(page: Page): Promise<void> {
  await page.keyboard.press("Escape");
  await page.locator("dialog").waitFor({ state: "detached" });
}

// --- what every check asserts and does ----------------------------------------------------------------

export async function axeClean(page: Page): Promise<void> {
  await page.evaluate(axe);
  const violations = await page.evaluate(async () => {
    const tool = (globalThis as unknown as { axe: { run: (node: Document, options: unknown) => Promise<{ violations: { id: string; impact: string; nodes: { html: string; failureSummary: string }[] }[] }> } }).axe;
    const found = await tool.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], resultTypes: ["violations"] });
    return found.violations.map((item) => `${item.id} (${item.impact}): ${item.nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} | ${node.failureSummary.slice(0, 200)}`).join(" ;; ")}`);
  });
  expect(violations).toEqual([]);
}

/** Wait until `look` gives something true; its last value otherwise explains the failure. */
export async function settled<T>(look: () => T | Promise<T>, within = 20_000): Promise<Exclude<T, false | null | undefined>> {
  const deadline = Date.now() + within * slow;
  for (;;) {
    const value = await look();
    if (value || Date.now() > deadline) {
      expect(value, `still ${JSON.stringify(value)} after ${within * slow} ms: ${look}`).toBeTruthy();
      return value as Exclude<T, false | null | undefined>;
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Only to let time pass that a check is about; what comes after some time is waited for. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Find a model in a picker by typing its id. */
export async function pick(page: Page, id: string, label = "Model"): Promise<void> {
  const picker = page.getByRole("combobox", { name: label, exact: true });
  await picker.click();
  await picker.fill(id);
  await page.getByRole("listbox", { name: label, exact: true }).getByRole("option", { name: id }).first().waitFor();
  await picker.press("Enter");
  await settled(async () => (await picker.getAttribute("title")) === id);
}

export function activityPages(stage: Stage, rows: () => unknown[]): void {
  stage.on("GET", /^\/api\/metrics\/activity/, (request, response) => {
    const query = new URL(request.url!, "http://x").searchParams;
    const limit = Number(query.get("limit") ?? 25);
    const page = Number(query.get("page") ?? 1);
    const all = rows();
    response.writeHead(200, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ data: all.slice((page - 1) * limit, page * limit), page, limit, total: all.length, total_pages: Math.ceil(all.length / limit) }));
  });
}
