import http from "node:http";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { check, model, pick, reload, script, settled, visit } from "./harness";
import { configFile, fakeUpstream, python, startProgram, startUnbuilt, type Program } from "./program";

let own: Program;

beforeAll(async () => {
  const cmd = `${python} ${fakeUpstream} --port \${PORT}`;
  own = await startProgram(["-config", await configFile(`models:\n  qwen2.5-7b: {cmd: '${cmd}'}\n  org/name.v1: {cmd: '${cmd}'}\n  org/model x: {cmd: '${cmd}'}\n`)]);
});
afterAll(() => own.stop());

const ask = (url: string, headers: Record<string, string> = {}): Promise<{ status: number; headers: http.IncomingHttpHeaders; body: Buffer }> =>
  new Promise((resolve, reject) => {
    const target = new URL(url);
    // the path as written: fetch would take the dots away
    const path = url.slice(target.origin.length);
    http.get({ host: target.hostname, port: target.port, path, headers }, (answer) => {
      const parts: Buffer[] = [];
      answer.on("data", (part: Buffer) => parts.push(part));
      answer.on("end", () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(parts) }));
    }).on("error", reject);
  });

describe("serving and routing", () => {
  check("UI-01", "/ leads to the Overview in few small files", async ({ page, stage, go }) => {
    await go("/");
    await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
    expect(new URL(page.url()).pathname).toBe("/ui/");
    await settled(() => stage.seen.some((item) => item.path.includes("shared-")));
    const files = [...new Set(stage.seen.map((item) => item.path).filter((path) => path.startsWith("/ui/") && !path.endsWith("build.json")))];
    expect(files.length, files.join(" ")).toBeLessThanOrEqual(8);
    let size = 0;
    for (const path of files.filter((name) => name.endsWith(".js"))) size += gzipSync((await ask(stage.url + path)).body, { level: 9 }).length;
    expect(size).toBeLessThanOrEqual(45_000);
  });

  const OLD: [string, string, string][] = [
    ["/ui/#/models", "/ui/models", "Models"],
    ["/ui/#/models/org%2Fmodel%20x", "/ui/models/org%2Fmodel%20x", "org/model x"],
    ["/ui/#/logs", "/ui/logs", "Logs"],
    ["/ui/#/performance", "/ui/performance", "Performance"],
    ["/ui/#/playground", "/ui/playground/chat", "Playground"],
    ["/ui/#/", "/ui/activity", "Activity"],
  ];
  check("UI-02", "old bookmarks show their page, and Back leaves in one step", async ({ context, url, open }) => {
    for (const [hash, path, heading] of OLD) {
      const page = await open();
      await page.goto("about:blank");
      await page.goto(url + hash);
      await page.getByRole("heading", { name: heading, level: 1 }).waitFor({ state: "attached" });
      await settled(() => new URL(page.url()).pathname === path && new URL(page.url()).hash === "");
      await page.goBack();
      expect(page.url()).toBe("about:blank");
      await page.close();
    }
    expect(context.pages().length).toBe(1);
  }, { program: () => own.url, axe: false });

  check("UI-03", "a model's page can be opened directly and reloaded, whatever its name", async ({ page, url }) => {
    for (const id of ["qwen2.5-7b", "org/name.v1"]) {
      for (const answer of [await page.goto(`${url}/ui/models/${id}`), await page.reload()]) expect(answer!.status()).toBe(200);
      await page.getByRole("heading", { name: id, level: 1, exact: true }).waitFor();
    }
  }, { program: () => own.url });

  check("UI-04", "/upstream shows the models", async ({ page, go }) => {
    await go("/upstream");
    await page.getByRole("heading", { name: "Models", level: 1 }).waitFor();
    expect(new URL(page.url()).pathname).toBe("/ui/models");
  });

  check("UI-05", "assets are immutable and compressed as accepted; the page is revalidated", async ({ page, go, stage }) => {
    await go();
    await page.getByRole("heading", { name: "Overview" }).waitFor();
    const path = stage.seen.map((item) => item.path).find((item) => /assets\/index-.*\.js/.test(item))!;
    const small = await ask(stage.url + path, { "Accept-Encoding": "gzip, br" });
    expect(small.headers["content-encoding"]).toBe("br");
    const plain = await ask(stage.url + path, { "Accept-Encoding": "brotli" });
    expect(plain.headers["content-encoding"]).toBeUndefined();
    for (const answer of [small, plain]) {
      expect(answer.headers["cache-control"]).toContain("immutable");
      expect(answer.headers["vary"]).toContain("Accept-Encoding");
    }
    const index = await ask(`${stage.url}/ui/`);
    const again = await ask(`${stage.url}/ui/`, { "If-None-Match": index.headers.etag! });
    expect([index.status, again.status, again.body.length]).toEqual([200, 304, 0]);
  });

  check("UI-06", "nothing outside the build can be had", async ({ page, go, stage }) => {
    for (const path of ["/ui/assets/none.js", "/ui/../pyproject.toml", "/ui/%2e%2e/pyproject.toml", "/ui/..%2fpyproject.toml", "/ui/assets/..%2f..%2f..%2fpyproject.toml"]) {
      let answer = await ask(stage.url + path);
      if (answer.status === 307) answer = await ask(stage.url + answer.headers.location!); // dots resolved
      expect(answer.status, path).toBe(404);
      expect(answer.body.toString()).not.toContain("hatchling");
    }
    await go();
    await page.getByRole("heading", { name: "Overview" }).waitFor();
  });

  check("UI-07", "everything works below a prefix", async ({ page, stage, go, url }) => {
    await go("/ui/");
    for (const [path, heading] of [["models", "Models"], ["activity", "Activity"], ["logs", "Logs"], ["performance", "Performance"], ["hardware", "Hardware"], ["timeline", "Timeline"], ["settings", "Settings"]]) {
      await visit(page, `${url}/ui/${path}`);
      await page.getByRole("heading", { name: heading!, level: 1 }).waitFor();
      if (path === "logs") await page.getByRole("log", { name: "Proxy, lines" }).getByText("Request ").first().waitFor();
    }
    await visit(page, `${url}/ui/playground/chat`);
    await pick(page, "demo-small");
    await page.getByRole("textbox", { name: "Message" }).fill("hello");
    await page.keyboard.press("Enter");
    await page.locator(".turn.assistant .md").waitFor();
    await reload(page);
    await page.getByRole("textbox", { name: "Message" }).waitFor();
    expect(stage.seen.filter((item) => item.path.startsWith("OUTSIDE")).map((item) => item.path)).toEqual([]);
  }, { mount: "/ai" });

  check("UI-08", "an unknown page says so, with links and in its title", async ({ page, stage, go }) => {
    script(stage, [model("m")]);
    await go("/ui/no/such/page");
    await page.getByRole("heading", { name: "Page not found" }).waitFor();
    await settled(async () => (await page.title()).includes("Page not found"));
    await page.locator("main").getByRole("link", { name: "Models" }).click();
    await page.getByRole("heading", { name: "Models", level: 1 }).waitFor();
  });

  check("UI-09", "a page of an upgraded server offers to reload; the rest stays usable", async ({ page, stage, go, allow }) => {
    allow(/404/, /Failed to fetch dynamically imported module/);
    script(stage, [model("m")]);
    stage.on("GET", /assets\/performance-/, { status: 404, text: "gone" });
    await go();
    await page.locator(".nav").getByRole("link", { name: "Performance", exact: true }).click();
    await page.getByRole("heading", { name: "The UI was updated" }).waitFor();
    await page.getByRole("button", { name: "Reload" }).waitFor();
    await page.locator(".nav").getByRole("link", { name: "Models", exact: true }).click();
    await page.getByRole("heading", { name: "Models", level: 1 }).waitFor();
  });

  check("UI-10", "without a build the page says how to get one, and the API answers", async ({ page, allow }) => {
    allow(/503/);
    const bare = await startUnbuilt();
    try {
      const answer = await page.goto(`${bare.url}/ui/`);
      expect(answer!.status()).toBe(503);
      await page.getByText("npm ci").waitFor();
      expect((await ask(`${bare.url}/v1/models`)).status).toBe(200);
    } finally {
      await bare.stop();
    }
  });
});
