// What every check stands on: the program, a stage in front of it, a page of its own; and what every
// check asserts at its end: no error in the console, no request that failed unasked, axe clean.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { chromium as playwright, type Browser, type BrowserContext, type Page } from "playwright-core";
import { expect, inject, test } from "vitest";
import { chromium, FLAGS } from "./chromium";
import { Stage } from "./stage";

export { flight, model, row, script } from "./told";

let browser: Promise<Browser> | undefined;

export const theBrowser = (): Promise<Browser> => (browser ??= playwright.launch({ executablePath: chromium()!, args: FLAGS, headless: true }));
/** The address of the program with its demo models, one for all checks that only read or load. */
export const demo = (): string => inject("demo");

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export interface Scene {
  page: Page;
  context: BrowserContext;
  stage: Stage;
  url: string;
  /** Another page with the same care. */
  open: () => Promise<Page>;
  /** Console errors and failed requests that the check provokes. */
  allow: (...patterns: RegExp[]) => void;
  go: (path?: string) => Promise<void>;
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

export const IDS = new Set<string>();

export function check(id: string, title: string, run: (scene: Scene) => Promise<void>, options: Options = {}): void {
  IDS.add(id);
  test(`${id}: ${title}`, async () => {
    const stage = await new Stage((options.program ?? demo)(), options.mount ?? "").start();
    const context = await (await theBrowser()).newContext({ viewport: { width: options.width ?? 1280, height: options.height ?? 800 }, colorScheme: options.dark ? "dark" : "light", ...options.context });
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
    };
    const open = async () => {
      const page = await context.newPage();
      watch(page);
      return page;
    };
    const page = await open();
    const url = stage.url + (options.mount ?? "");
    const scene: Scene = {
      page, context, stage, url, open,
      allow: (...patterns) => allowed.push(...patterns),
      go: async (path = "/ui/") => {
        await page.goto(url + path);
      },
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
  }, options.timeout);
}

export async function axeClean(page: Page): Promise<void> {
  // half-way from one theme to the other no colour is the one that people read
  await settled(() => page.evaluate(() => !document.getAnimations().some((one) => one instanceof CSSTransition)));
  await page.evaluate(axe);
  const violations = await page.evaluate(async () => {
    const tool = (globalThis as unknown as { axe: { run: (node: Document, options: unknown) => Promise<{ violations: { id: string; impact: string; nodes: { html: string; failureSummary: string }[] }[] }> } }).axe;
    const found = await tool.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], resultTypes: ["violations"] });
    return found.violations.map((item) => `${item.id} (${item.impact}): ${item.nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} | ${node.failureSummary.slice(0, 200)}`).join(" ;; ")}`);
  });
  expect(violations).toEqual([]);
}

/** Wait until `look` gives something true; its last value otherwise explains the failure. */
export async function settled<T>(look: () => T | Promise<T>, within = 10_000): Promise<T> {
  const deadline = Date.now() + within;
  for (;;) {
    const value = await look();
    if (value || Date.now() > deadline) {
      expect(value, `still ${JSON.stringify(value)} after ${within} ms: ${look}`).toBeTruthy();
      return value;
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Find a model in a picker by typing its id. */
export async function pick(page: Page, id: string, label = "Model"): Promise<void> {
  const picker = page.getByRole("combobox", { name: label, exact: true });
  await picker.click();
  await picker.fill(id);
  await page.getByRole("listbox", { name: label, exact: true }).getByRole("option", { name: id }).first().waitFor();
  await picker.press("Enter");
  await settled(async () => (await picker.getAttribute("aria-expanded")) === "false");
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
