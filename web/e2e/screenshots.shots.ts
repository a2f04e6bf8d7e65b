// Pictures of every page, light and dark, wide and narrow, of the real program with its demo models
// after some traffic. They go into web/screenshots, which git ignores: look at them.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, test } from "vitest";
import { demo, pause, theBrowser } from "./harness";

const FOLDER = join(import.meta.dirname, "../screenshots");
const PAGES: [string, string][] = [
  ["overview", ""], ["models", "models"], ["model", "models/demo-large"], ["details", "models/demo-large?tab=details"], ["model-log", "models/demo-large?tab=logs"], ["activity", "activity"], ["capture", "captures/2"], ["logs", "logs"],
  ["performance", "performance"], ["timeline", "timeline"], ["chat", "playground/chat"], ["images", "playground/images"], ["speech", "playground/speech"], ["transcription", "playground/transcription"], ["rerank", "playground/rerank"],
  ["embeddings", "playground/embeddings"], ["load", "playground/load"], ["hardware", "hardware"], ["settings", "settings"], ["missing", "nowhere"],
];

const post = (path: string, body: unknown) => fetch(demo() + path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }).then((answer) => answer.text());
const chat = (model: string, content: string, tokens = 60) => post("/v1/chat/completions", { model, stream: true, max_tokens: tokens, messages: [{ role: "system", content: "Answer briefly." }, { role: "user", content }] });

beforeAll(async () => {
  mkdirSync(FOLDER, { recursive: true });
  await chat("demo-small", "Why is the sky blue?");
  await Promise.all([chat("demo-large", "Write a haiku about rain."), chat("demo-small", "And at night?")]);
  await post("/v1/embeddings", { model: "demo-embed", input: ["a", "b"] });
  await post("/v1/chat/completions", { model: "no-such-model", messages: [] });
  await Promise.all([chat("demo-large", "One more.", 120), chat("demo-small", "Last one.", 40)]);
  await chat("demo-large", "Stay loaded.", 20);
}, 120_000);

for (const scheme of ["light", "dark"] as const)
  for (const [size, width, height] of [["wide", 1280, 800], ["narrow", 390, 844]] as const)
    test(`${scheme} ${size}`, async () => {
      const context = await (await theBrowser()).newContext({ viewport: { width, height }, colorScheme: scheme });
      const page = await context.newPage();
      await page.addInitScript(() => {
        if (!localStorage.length) localStorage.setItem("llamaswap.ui", JSON.stringify({ v: 1, prefs: { timelineRange: "5m", chatModel: "demo-small", embeddingsModel: "demo-embed" } }));
      });
      for (const [name, path] of PAGES) {
        await page.goto(`${demo()}/ui/${path}`);
        await page.locator("#connection:has-text('Connected')").waitFor();
        if (name === "chat") {
          await page.getByRole("textbox", { name: "Message" }).fill("Explain swapping in two sentences.");
          await page.keyboard.press("Enter");
          await pause(size === "wide" ? 2_500 : 1_500);
        }
        if (name === "embeddings") {
          await page.getByRole("button", { name: "Compare" }).click();
          await page.getByText("numbers each").waitFor();
        }
        if (name === "activity" && size === "wide") await page.getByRole("button", { name: "Filters" }).click();
        if (name === "timeline") await page.locator(".mark").last().hover().catch(() => undefined);
        await pause(500);
        await page.screenshot({ path: join(FOLDER, `${name}-${scheme}-${size}.png`), fullPage: !["logs", "model-log", "chat"].includes(name) });
      }
      await context.close();
    }, 180_000);
