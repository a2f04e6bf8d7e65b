// Pictures of every page, light and dark, wide and narrow, of the real program with its demo models
// after some traffic. They go into web/screenshots, which git ignores: look at them.
// README=1 writes the three pictures of the README instead, after some minutes of traffic.
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

const README = join(import.meta.dirname, "../../docs/images");
const forReadme = Boolean(process.env["README"]);

test.runIf(forReadme)("pictures of the README", async () => {
  const until = Date.now() + 270_000;
  const wait = (seconds: number) => pause(seconds * 1000);
  await post("/v1/embeddings", { model: "demo-embed", input: ["a", "b"] });
  while (Date.now() < until) {
    const talk = [chat("demo-small", "Why is the sky blue?", 400), wait(2).then(() => chat("demo-small", "And at night?", 300)), wait(3).then(() => chat("demo-large", "Write a haiku about rain.", 200))];
    await wait(5);
    await Promise.all([...talk, post("/v1/embeddings", { model: "demo-embed", input: "c" }), chat("demo-large", "And one about snow.", 120)]);
    await wait(6);
    await Promise.all([chat("demo-small", "Count to twenty.", 200), chat("demo-large", "Count to ten.", 60)]);
    await wait(9);
  }
  const under = chat("demo-large", "A story, please.", 900);
  await wait(8);
  const context = await (await theBrowser()).newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  await page.addInitScript(() => {
    if (!localStorage.length) localStorage.setItem("llamaswap.ui", JSON.stringify({ v: 1, prefs: { timelineRange: "5m", chatModel: "demo-large" } }));
  });
  const open = async (path: string) => {
    await page.goto(`${demo()}/ui/${path}`);
    await page.locator("#connection:has-text('Connected')").waitFor();
    await pause(2_000);
  };
  await open("");
  await page.screenshot({ path: join(README, "overview.png"), fullPage: true });
  await open("timeline");
  await page.locator(".mark").last().hover();
  await pause(300);
  await page.screenshot({ path: join(README, "timeline.png") });
  await under;
  await open("playground/chat");
  await page.getByRole("textbox", { name: "Message" }).fill("Explain swapping in two sentences.");
  await page.keyboard.press("Enter");
  await page.getByText("first token").waitFor();
  await pause(500);
  await page.screenshot({ path: join(README, "chat.png") });
  await context.close();
}, 420_000);

beforeAll(async () => {
  if (forReadme) return;
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
    test.skipIf(forReadme)(`${scheme} ${size}`, async () => {
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
