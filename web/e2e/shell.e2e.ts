import { describe, expect } from "vitest";
import { activityPages, axeClean, check, escape, flight, model, quiet, ready, row, script, settled, visit, type Scene } from "./harness";

export const PAGES: [string, string][] = [
  ["", "Overview"], ["models", "Models"], ["models/demo", "demo"], ["models/demo?tab=details", "demo"], ["activity", "Activity"], ["captures/1", "Capture #1"], ["logs", "Logs"],
  ["performance", "Performance"], ["timeline", "Timeline"], ["playground/chat", "Playground"], ["playground/images", "Playground"], ["playground/speech", "Playground"], ["playground/transcription", "Playground"],
  ["playground/rerank", "Playground"], ["playground/embeddings", "Playground"], ["playground/load", "Playground"], ["hardware", "Hardware"], ["settings", "Settings"], ["nowhere", "Page not found"],
];

function furnished(stage: Scene["stage"]): void {
  script(stage, [model("demo", "ready", { description: "a model", ttl_s: 300, context_length: 131072, capabilities: { vision: true } }), model("waiting", "starting"), model("idle"), model("broken", "stopped", { last_error: { message: "it exited", exit_code: 1 } }), model("east/far", "", { peerID: "east" })], [flight("1", "demo")]);
  stage.opening.unshift(["logData", { source: "proxy", data: "2026-01-01 12:00:00 [INFO] a line\n" }]);
  activityPages(stage, () => [row(3, { has_capture: true }), row(2, { resp_status_code: 502, error_msg: "refused" }), row(1)]);
  stage.on("GET", /metrics\/stats/, { json: { total_requests: 3, total_input_tokens: 10, total_output_tokens: 20, total_cache_tokens: 1, prompt_histogram: { bins: [1, 4, 2], min: 10, max: 40, binSize: 10, p50: 20, p95: 38, p99: 40 }, gen_histogram: null } });
  stage.on("GET", /^\/api\/captures\//, { json: { id: 1, req_path: "/v1/chat/completions", req_headers: { A: "b" }, req_body: Buffer.from('{"messages":[{"role":"user","content":"hi"}]}').toString("base64"), resp_headers: {}, resp_body: null } });
}

describe("shell, preferences, access", () => {
  for (const [name, options] of [["light", {}], ["dark", { dark: true }], ["high contrast", { context: { contrast: "more" } }]] as const)
    check("UI-63", `every page is accessible and fits from 320 to 1280 px, ${name}`, async ({ page, stage, url }) => {
      furnished(stage);
      for (const [path, heading] of PAGES) {
        await page.setViewportSize({ width: 1280, height: 800 });
        await visit(page, `${url}/ui/${path}`);
        await page.getByRole("heading", { name: heading, level: 1 }).waitFor({ state: "attached" });
        await settled(async () => (await page.locator("main .skeleton").count()) === 0);
        await axeClean(page);
        for (const width of [768, 390, 320]) {
          await page.setViewportSize({ width, height: 800 });
          const wider = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
          await settled(async () => (await wider()) <= 0); // charts are drawn anew a frame later
          expect(await wider(), `${path} at ${width} px`).toBeLessThanOrEqual(0);
        }
        if (name === "light") await axeClean(page); // as cards, with the sheet's button; colours were looked at above
      }
    }, { ...options, timeout: 120_000 });

  check("UI-64", "all of it can be done from the keyboard", async ({ page, stage, go }) => {
    furnished(stage);
    stage.on("POST", /models\/unload\/demo/, { text: "OK" });
    stage.on("GET", /^\/logs\/stream\/demo/, { text: "its log\n" });
    await go("/ui/models");
    stage.send("inflight", { operation: "remove", id: "1" });
    await page.locator(".strip", { hasText: "0 in flight" }).waitFor(); // else unloading would ask first
    const focused = () => page.evaluate(() => document.activeElement?.getAttribute("data-model") ?? document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.tagName ?? "");
    const ring = async (what: string) => {
      const seen = await page.evaluate(() => {
        const style = getComputedStyle(document.activeElement!);
        return { outline: `${style.outlineStyle} ${style.outlineWidth}`, visible: document.activeElement!.matches(":focus-visible") };
      });
      expect(seen, `the focus on ${what}`).toEqual({ outline: "solid 2px", visible: true });
    };
    const palette = async (wanted: string) => {
      await page.keyboard.press("Control+k");
      await settled(async () => (await focused()) === "Command"); // letters before that are the page's
      await page.keyboard.type(wanted);
    };
    // the palette opens over a row, unloads, and gives the focus back to the row
    await page.keyboard.press("j");
    await settled(async () => (await focused()) === "broken");
    await page.keyboard.press("j");
    await page.keyboard.press("k");
    await settled(async () => (await focused()) === "broken");
    await ring("a row");
    await page.keyboard.press("Control+k");
    await page.getByRole("combobox", { name: "Command" }).waitFor();
    await escape(page);
    await settled(async () => (await focused()) === "broken");
    await palette("unload demo");
    await page.keyboard.press("Enter");
    await settled(() => stage.requests("POST", /unload\/demo/).length === 1);
    await settled(async () => (await focused()) === "broken");
    // to its log, and back
    await palette("logs of demo");
    await page.keyboard.press("Enter");
    await page.getByText("its log").waitFor();
    await settled(async () => (await focused()) === "H1");
    expect(await page.locator('nav[aria-label="Views of the model"] [aria-current="page"]').innerText()).toBe("Logs");
    expect(await page.locator('.nav [aria-current="page"]').innerText()).toContain("demo");
    await page.goBack(); // the browser's own key, which a browser without a window does not have
    await page.getByRole("heading", { name: "Models", level: 1 }).waitFor();
    await settled(async () => (await focused()) === "H1");
    expect(await page.locator('.nav [aria-current="page"]').first().innerText()).toContain("Models");
    // Tab reaches what a pointer would, with a ring on each stop
    for (let i = 0; i < 12; i++) {
      await page.keyboard.press("Tab");
      await ring(`stop ${i}: ${await focused()}`);
    }
    // letters
    await page.keyboard.press("g");
    await page.keyboard.press("o");
    await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
    expect(await page.locator('.nav [aria-current="page"]').first().innerText()).toContain("Overview");
    await page.keyboard.press("g");
    await page.keyboard.press("m");
    await page.getByRole("heading", { name: "Models", level: 1 }).waitFor();
    await page.keyboard.press("/");
    await settled(async () => (await focused()) === "Filter models");
    await page.keyboard.press("Escape");
    await page.keyboard.press("j");
    await settled(() => page.evaluate(() => document.activeElement?.tagName === "TR"));
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
    await page.keyboard.press("Escape");
    await settled(() => page.evaluate(() => document.activeElement?.tagName === "TR"));
  });

  check("UI-65", "on a phone the sheet closes on a choice, and the heading has the focus", async ({ page, stage, go }) => {
    furnished(stage);
    await go();
    await page.getByRole("button", { name: "Open navigation" }).click();
    await page.getByRole("dialog").getByRole("link", { name: "Activity" }).click();
    await page.getByRole("heading", { name: "Activity", level: 1 }).waitFor();
    expect(await page.getByRole("dialog").count()).toBe(0);
    await settled(() => page.evaluate(() => document.activeElement?.textContent === "Activity"));
    await page.getByRole("button", { name: "Open navigation" }).click();
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await settled(async () => (await page.getByRole("dialog").count()) === 0);
  }, { width: 390 });

  check("UI-66", "the theme follows the system at once, and a reload shows no white frame", async ({ page, stage, go }) => {
    furnished(stage);
    await go();
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    expect(await ground()).toBe("rgb(245, 246, 248)");
    await page.emulateMedia({ colorScheme: "dark" });
    await settled(async () => (await ground()) === "rgb(15, 18, 22)");
    // before any module runs, the small script has set the theme
    await page.route(/assets\/.*\.js/, (route) => route.abort());
    await page.reload().catch(() => undefined);
    expect(await page.evaluate(() => document.documentElement.dataset["theme"])).toBe("dark");
    expect(await ground()).toBe("rgb(15, 18, 22)");
    await page.unroute(/assets\/.*\.js/);
    await page.reload();
    await ready(page);
  }, { init: ({ allow }) => allow(/ERR_FAILED/) });

  check("UI-67", "what the reference program remembered is taken over once and left as it is", async ({ page, stage, go }) => {
    furnished(stage);
    const old: Record<string, string> = { "theme-mode": '"dark"', "models-dash-show-unlisted": "true", "activity-page-size": "50", "activity-columns": '["id","time","model"]', "playground-temperature": "not json {" };
    await page.addInitScript((items) => {
      if (!localStorage.length) for (const [key, value] of Object.entries(items)) localStorage.setItem(key, value);
    }, old);
    await go("/ui/activity");
    await page.locator('tr[data-row="3"]').waitFor();
    expect(await page.evaluate(() => document.documentElement.dataset["theme"])).toBe("dark");
    expect(await page.getByRole("group", { name: "Requests, table", exact: true }).locator("th").allInnerTexts()).toEqual(["ID", "Time", "Model"]);
    expect(stage.requests("GET", /limit=50/).length).toBeGreaterThan(0);
    await page.keyboard.press("Control+b");
    await settled(() => page.evaluate(() => localStorage.getItem("llamaswap.ui") !== null));
    const kept = await page.evaluate((keys) => keys.map((key) => localStorage.getItem(key)), Object.keys(old));
    expect(kept).toEqual(Object.values(old));
    expect(JSON.parse((await page.evaluate(() => localStorage.getItem("llamaswap.ui")))!).prefs.activitySize).toBe(50);
  });

  check("UI-68", "where nothing can be stored everything still works", async ({ page, stage, go }) => {
    furnished(stage);
    await page.addInitScript(() => {
      for (const name of ["localStorage", "indexedDB"]) Object.defineProperty(globalThis, name, { get: () => { throw new DOMException("refused", "SecurityError"); } });
    });
    await go("/ui/models");
    await page.locator('tr[data-model="demo"]').waitFor();
    await page.getByRole("button", { name: /Theme: system/ }).click();
    await settled(() => page.evaluate(() => document.documentElement.dataset["theme"] === "light"));
    await quiet(page, 300); // by then it would have been stored
    await page.locator(".nav").getByRole("link", { name: "Playground", exact: true }).click();
    await page.getByRole("textbox", { name: "Message" }).waitFor();
    expect(await page.locator(".toast, [role=alert]").count()).toBe(0);
  });

  check("UI-69", "a preference set in one tab reaches the other", async ({ page, stage, open, go }) => {
    furnished(stage);
    await go("/ui/settings");
    const other = await open("/ui/settings");
    await page.getByRole("group", { name: "Theme" }).getByRole("button", { name: "Dark" }).click();
    await settled(() => other.evaluate(() => document.documentElement.dataset["theme"] === "dark"));
    await other.close();
  });

  check("UI-70", "reduced motion means none", async ({ page, stage, go }) => {
    furnished(stage);
    await go();
    const moving = await page.evaluate(() => [...document.querySelectorAll("*")].filter((element) => {
      const style = getComputedStyle(element);
      return style.animationName !== "none" || style.transitionDuration.split(",").some((time) => parseFloat(time) > 0.001);
    }).map((element) => element.outerHTML.slice(0, 80)));
    expect(moving).toEqual([]);
  }, { context: { reducedMotion: "reduce" } });

  check("UI-71", "another site cannot unload models; a script can", async ({ page, stage, go, open, allow }) => {
    allow(/403/, /CORS/, /ERR_FAILED/);
    await go("/ui/models");
    await fetch(`${stage.url}/v1/embeddings`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ model: "demo-embed", input: "x" }) });
    const loaded = page.locator('tr[data-model="demo-embed"]', { hasText: "Ready" });
    await loaded.waitFor();
    stage.on("GET", /^\/foreign/, { text: "<h1>elsewhere</h1>", type: "text/html" });
    const foreign = await open();
    await foreign.goto(`${stage.url.replace("127.0.0.1", "localhost")}/foreign`); // another site for a browser
    const asked = () => stage.requests("POST", /models\/unload/);
    for (const [n, path] of ["unload", "unload/demo-embed"].entries()) {
      await foreign.evaluate((url) => fetch(url, { method: "POST", mode: "no-cors" }).catch(() => undefined), `${stage.url}/api/models/${path}`);
      await settled(() => asked().length === n + 1 && asked()[n]!.status !== undefined);
      expect(asked()[n]!.headers["sec-fetch-site"]).toBe("cross-site");
      expect(asked()[n]!.status).toBe(403);
    }
    await foreign.evaluate((url) => { // a form needs no permission at all
      document.body.innerHTML = `<form method="post" action="${url}"><button>x</button></form>`;
      document.querySelector("form")!.submit();
    }, `${stage.url}/api/models/unload`);
    await settled(() => asked().length === 3 && asked()[2]!.status !== undefined);
    expect(asked()[2]!.status).toBe(403);
    const { running } = (await (await fetch(`${stage.url}/running`)).json()) as { running: { model: string; state: string }[] };
    expect(running.filter((item) => item.model === "demo-embed").map((item) => item.state)).toEqual(["ready"]);
    expect(await loaded.count()).toBe(1);
    expect((await fetch(`${stage.url}/api/models/unload/demo-embed`, { method: "POST" })).status).toBe(200);
    await page.locator('tr[data-model="demo-embed"]', { hasText: "Stopped" }).waitFor();
    await foreign.close();
  });

  check("UI-72", "the policy of the page is sent, and nothing breaks it", async ({ page, go }) => {
    const policies: string[] = [];
    page.on("response", (response) => {
      if (response.url().endsWith("/ui/")) policies.push(response.headers()["content-security-policy"] ?? "");
    });
    await page.addInitScript(() => {
      (globalThis as unknown as { broken: string[] }).broken = [];
      document.addEventListener("securitypolicyviolation", (event) => (globalThis as unknown as { broken: string[] }).broken.push(event.violatedDirective));
    });
    await go();
    expect(policies[0]).toContain("script-src 'self'");
    expect(policies[0]).toContain("object-src 'none'");
    expect(policies[0]).toContain("require-trusted-types-for 'script'");
    for (const name of ["Logs", "Performance", "Playground", "Timeline"]) {
      await page.locator(".nav").getByRole("link", { name, exact: true }).click();
      await page.getByRole("heading", { name, level: 1 }).waitFor({ state: "attached" });
      await quiet(page);
    }
    expect(await page.evaluate(() => (globalThis as unknown as { broken: string[] }).broken)).toEqual([]);
  });

  check("UI-73", "long and foreign names overlap nothing, and hide no button", async ({ page, stage, go }) => {
    const long = "x".repeat(120);
    script(stage, [model("通义千问-二点五", "ready", { name: "通义千问 🐪 模型" }), model(long, "stopped", { description: "word ".repeat(800) })]);
    for (const width of [1280, 390]) {
      await page.setViewportSize({ width, height: 800 });
      await go("/ui/models");
      const line = page.locator(`tr[data-model="${long}"]`);
      await line.waitFor();
      const button = (await line.getByRole("button", { name: /^Load/ }).boundingBox())!;
      expect(button.x + button.width).toBeLessThanOrEqual(width);
      expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
      expect(await line.locator("a.strong").getAttribute("title")).toBe(long);
    }
  });

  check("UI-74", "twice the size and wider text clip nothing", async ({ page, stage, url }) => {
    furnished(stage);
    await page.setViewportSize({ width: 640, height: 400 }); // 1280 × 800 at 200 %
    for (const [path, heading] of [["", "Overview"], ["models", "Models"], ["activity", "Activity"], ["settings", "Settings"]] as const) {
      await visit(page, `${url}/ui/${path}`);
      await page.getByRole("heading", { name: heading, level: 1 }).waitFor();
      await page.evaluate(() => {
        const sheet = new CSSStyleSheet();
        sheet.replaceSync("* { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important; } p { margin-bottom: 2em !important; }");
        document.adoptedStyleSheets = [sheet];
      });
      expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), path).toBeLessThanOrEqual(0);
      const clipped = await page.evaluate(() => [...document.querySelectorAll<HTMLElement>("main .button, main h1, main h2")].filter((element) => element.scrollWidth > element.clientWidth + 2 && getComputedStyle(element).overflow === "hidden" && !element.classList.contains("cut") && !element.classList.contains("visually-hidden")).map((element) => element.outerHTML.slice(0, 100)));
      expect(clipped).toEqual([]);
    }
  });
});
