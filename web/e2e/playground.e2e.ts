import { truncateSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { describe, expect } from "vitest";
import { activityPages, asks, check, escape, model, pause, pick, reload, script, settled } from "./harness";
import { folder } from "./program";
import type { Stage } from "./stage";

const MODELS = [{ id: "talker", meta: { llamaswap: { type: "model" } } }, { id: "other", meta: { llamaswap: { type: "model" } } }];

function ready(stage: Stage): void {
  script(stage, [model("talker", "ready"), model("other")]);
  stage.on("GET", /^\/v1\/models/, { json: { object: "list", data: MODELS } });
  activityPages(stage, () => []);
}
const box = (page: Page) => page.getByRole("textbox", { name: "Message" });
const choose = async (page: Page, id = "talker") => pick(page, id);
const answer = (page: Page) => page.locator(".turn.assistant").last();
const say = async (page: Page, text: string) => {
  await box(page).fill(text);
  await box(page).press("Enter");
  await settled(async () => (await box(page).inputValue()) === ""); // it was taken
};
/** The answer has ended, and the next message can be written. */
const answered = async (page: Page, turns: number) => settled(async () => (await page.locator(".turn.assistant").count()) === turns && (await box(page).isEnabled()));
const stream = (stage: Stage, path: RegExp, write: (response: ServerResponse) => Promise<void> | void) =>
  stage.on("POST", path, async (_, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    await write(response);
  });
const delta = (content: string) => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`;
const bodyOf = (stage: Stage, path: RegExp) => JSON.parse(stage.requests("POST", path).at(-1)!.body.toString()) as Record<string, unknown>;
const PNG = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");

/** The path of a file of so many zeros: as bytes it would go through the browser's debugger, which takes its time. */
function fileOf(name: string, size: number): string {
  const path = join(folder(), name);
  writeFileSync(path, "");
  truncateSync(path, size);
  return path;
}

/** Whether the browser's database holds a conversation, under the name that is shown, that ends so. */
const kept = (page: Page, end: string): Promise<boolean> =>
  page.evaluate((text) => new Promise<boolean>((resolve) => {
    const opened = indexedDB.open("llamaswap", 1);
    opened.addEventListener("success", () => {
      const store = opened.result.transaction("conversations").objectStore("conversations");
      const name = store.get("\u0000current");
      name.addEventListener("success", () => {
        const entries = store.get(name.result ?? "");
        entries.addEventListener("success", () => {
          opened.result.close();
          resolve((entries.result as { text: string }[] | undefined)?.at(-1)?.text === text);
        });
      });
    });
  }), end);

const ENDPOINTS: [string, RegExp, (text: string, reasoning: boolean) => string, string][] = [
  ["completions", /^\/v1\/chat\/completions/, (text, reasoning) => `data:${JSON.stringify({ choices: [{ delta: reasoning ? { reasoning_content: text } : { content: text } }] })}\r\n\r\n`, "data: [DONE]\r\n\r\n"],
  ["messages", /^\/v1\/messages/, (text, reasoning) => `event: content_block_delta\ndata: ${JSON.stringify({ type: "content_block_delta", delta: reasoning ? { type: "thinking_delta", thinking: text } : { type: "text_delta", text } })}\n\n`, 'data: {"type":"message_stop"}\n\n'],
  ["responses", /^\/v1\/responses/, (text, reasoning) => `data: ${JSON.stringify({ type: reasoning ? "response.reasoning_summary_text.delta" : "response.output_text.delta", delta: text })}\n\n`, 'data: {"type":"response.completed","response":{"usage":{"output_tokens":3}}}\n\n'],
];

async function settingsOf(page: Page, endpoint: string): Promise<void> {
  await page.getByRole("button", { name: "Settings of the chat" }).click();
  await page.getByLabel("Endpoint").selectOption(endpoint);
  await escape(page);
}

describe("playground", () => {
  check("UI-45", "each endpoint gives the same text, however its bytes are cut", async ({ page, stage, go }) => {
    ready(stage);
    await go("/ui/playground/chat");
    await choose(page);
    for (const [endpoint, path, frame, end] of ENDPOINTS) {
      stream(stage, path, async (response) => {
        const bytes = Buffer.from(`: a comment\n\n${frame("let me think", true)}${frame("Grüße, 世界 ", false)}${frame("🌍!", false)}${end}`);
        for (let i = 0; i < bytes.length; i += 7) {
          response.write(bytes.subarray(i, i + 7));
          if (i % 70 === 0) await pause(5);
        }
        response.end();
      });
      await settingsOf(page, endpoint);
      await say(page, `over ${endpoint}`);
      await settled(async () => (await answer(page).locator(".md").innerText()).trim() === "Grüße, 世界 🌍!");
      await answer(page).locator("summary", { hasText: /Reasoning \(12 chars, \d/ }).waitFor();
      await settled(() => box(page).isEnabled());
      expect(await answer(page).innerText()).not.toContain("Interrupted");
      await page.getByRole("button", { name: "Conversations" }).click();
      await page.getByRole("button", { name: "New conversation" }).click();
      await page.keyboard.press("Escape");
    }
  });

  check("UI-46", "a hostile reply runs nothing, loads nothing, and finished blocks stay", async ({ page, stage, go }) => {
    ready(stage);
    const strangers: string[] = [];
    await page.route("http://stranger.test/**", (route) => {
      strangers.push(route.request().url());
      return route.abort();
    });
    let next: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (next = resolve));
    stream(stage, /chat\/completions/, async (response) => {
      response.write(delta("<img src=x onerror=\"document.title='owned'\"> and <script>document.title='owned'</script>\n\n[x](javascript:document.title='owned')\n\n![far](http://stranger.test/a.png)\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"));
      response.write(delta("```js\nlet open = "));
      await held;
      response.write(delta("1;\n```\n\nthe end $x^2$"));
      response.end("data: [DONE]\n\n");
    });
    await go("/ui/playground/chat");
    await choose(page);
    await say(page, "be evil");
    await answer(page).locator("pre", { hasText: "let open" }).waitFor();
    await answer(page).locator(".md > div").first().evaluate((block) => ((globalThis as unknown as { kept: Element }).kept = block));
    next();
    await answer(page).getByText("the end").waitFor();
    await settled(() => box(page).isEnabled());
    expect(await page.evaluate(() => (globalThis as unknown as { kept: Element }).kept === document.querySelector(".turn.assistant .md > div"))).toBe(true);
    await answer(page).locator("math").waitFor();
    expect(await answer(page).locator("img, script").count()).toBe(0);
    expect(await answer(page).locator("table td").count()).toBe(2);
    expect(await answer(page).locator('a[href^="javascript"]').count()).toBe(0);
    await answer(page).locator("a", { hasText: "open" }).waitFor();
    expect(strangers).toEqual([]);
    expect(await page.title()).not.toContain("owned");
  });

  check("UI-47", "pictures travel in each endpoint's shape; what cannot is refused with a reason", async ({ page, stage, go }) => {
    ready(stage);
    await go("/ui/playground/chat");
    await choose(page);
    const attach = page.locator(".composer input[type=file]").first();
    const shapes: Record<string, string> = { completions: "image_url", messages: "image", responses: "input_image" };
    for (const [i, [endpoint, path, frame, end]] of ENDPOINTS.entries()) {
      stream(stage, path, (response) => void response.end(frame("seen", false) + end));
      await settingsOf(page, endpoint);
      await attach.setInputFiles({ name: "dot.png", mimeType: "image/png", buffer: PNG });
      await page.locator(".composer .thumbs img").waitFor();
      await asks(stage, "POST", path, () => say(page, "look"));
      await answered(page, i + 1);
      const text = JSON.stringify(bodyOf(stage, path));
      expect(text).toContain(`"type":"${shapes[endpoint]}"`);
      expect(text).toContain("iVBORw0KGgo");
    }
    await attach.setInputFiles(Array.from({ length: 6 }, (_, i) => ({ name: `p${i}.png`, mimeType: "image/png", buffer: PNG })));
    await page.getByText("p5.png was not attached: a message takes at most 5").waitFor();
    await attach.setInputFiles(fileOf("big.png", 21 * 1024 * 1024));
    await page.getByText("big.png was not attached: it has 21.0 MB").waitFor();
    await attach.setInputFiles({ name: "drawing.svg", mimeType: "image/svg+xml", buffer: Buffer.from("<svg/>") });
    await page.getByText("drawing.svg was not attached").waitFor();
  });

  check("UI-48", "errors stand apart from the conversation and are never sent back", async ({ page, stage, go, allow }) => {
    allow(/500/);
    ready(stage);
    await go("/ui/playground/chat");
    await choose(page);
    stage.on("POST", /chat\/completions/, { status: 500, json: { error: { message: "out of memory" } } });
    await say(page, "first");
    await page.getByRole("alert").getByText("out of memory").waitFor();
    stream(stage, /chat\/completions/, (response) => void response.end(`${delta("half an ans")}data: {"error":{"message":"slot lost"}}\n\n`));
    await page.getByRole("alert").getByRole("button", { name: "Retry" }).click();
    await page.getByRole("alert").getByText("slot lost").waitFor();
    stream(stage, /chat\/completions/, (response) => void response.end(delta("cut off")));
    await say(page, "second");
    await page.getByText("Interrupted").waitFor();
    const sent = JSON.stringify(bodyOf(stage, /chat\/completions/));
    expect(sent).not.toMatch(/out of memory|slot lost/);
    expect(sent).toContain("half an ans");
  });

  check("UI-49", "stopping keeps the part, editing drops what follows, regenerating asks anew", async ({ page, stage, go }) => {
    ready(stage);
    await go("/ui/playground/chat");
    await choose(page);
    stream(stage, /chat\/completions/, async (response) => {
      response.write(delta("a partial"));
      await new Promise((resolve) => response.on("close", resolve));
    });
    await say(page, "one");
    await answer(page).getByText("a partial").waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByText("Stopped").waitFor();
    let n = 0;
    stream(stage, /chat\/completions/, (response) => void response.end(`${delta(`answer ${++n}`)}data: [DONE]\n\n`));
    await say(page, "two");
    await answer(page).getByText("answer 1").waitFor();
    await answered(page, 2);
    await page.getByRole("button", { name: "Answer again" }).last().click();
    await answer(page).getByText("answer 2").waitFor();
    await answered(page, 2);
    await page.getByRole("button", { name: "Edit and ask again" }).first().click();
    await page.getByRole("textbox", { name: "Edit the message" }).fill("one, better");
    await page.getByRole("textbox", { name: "Edit the message" }).press("Enter");
    await answer(page).getByText("answer 3").waitFor();
    await answered(page, 1);
    expect(await page.locator(".turn").count()).toBe(2);
    expect(bodyOf(stage, /chat\/completions/)["messages"]).toEqual([{ role: "user", content: "one, better" }]);
  });

  check("UI-50", "a reply goes on while other pages are shown; conversations survive a reload, pictures too", async ({ page, stage, go }) => {
    ready(stage);
    await go("/ui/playground/chat");
    await choose(page);
    let next: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (next = resolve));
    stream(stage, /chat\/completions/, async (response) => {
      response.write(delta("begins "));
      await held;
      response.end(`${delta("and ends")}data: [DONE]\n\n`);
    });
    // random, so that nothing compresses it; more than local storage holds
    const big = Buffer.concat([PNG, Buffer.from(Array.from({ length: 1_400_000 }, (_, i) => (i * 2_654_435_761) >>> 24))]);
    await page.locator(".composer input[type=file]").first().setInputFiles(Array.from({ length: 4 }, (_, i) => ({ name: `${i}.png`, mimeType: "image/png", buffer: big })));
    await settled(async () => (await page.locator(".thumbs img").count()) === 4);
    await say(page, "go on");
    await answer(page).getByText("begins").waitFor();
    await page.locator(".nav").getByRole("link", { name: "Models", exact: true }).click();
    await page.getByRole("heading", { name: "Models", level: 1 }).waitFor();
    await page.locator(".nav", { hasText: "busy" }).waitFor();
    next();
    await page.goBack();
    await answer(page).getByText("begins and ends").waitFor();
    await settled(() => kept(page, "begins and ends"));
    await reload(page);
    await answer(page).getByText("begins and ends").waitFor();
    await settled(async () => (await page.locator(".turn.user img").count()) === 4);
  });

  check("UI-51", "what the proxy says while loading is a notice, not thought", async ({ page, stage, go }) => {
    ready(stage);
    await go("/ui/playground/chat");
    await choose(page);
    const think = (text: string) => `data: ${JSON.stringify({ choices: [{ delta: { reasoning_content: text } }] })}\n\n`;
    stream(stage, /chat\/completions/, (response) => void response.end([think("━━━━━\nllama-swap loading model: talker\n"), think("\nfetching .... \nDone! (1.26s)\n━━"), think("━━━\n \n"), think("real thought"), delta("reply"), "data: [DONE]\n\n"].join("")));
    await say(page, "hello");
    const notice = answer(page).locator("details", { hasText: "Loading notice" });
    await notice.locator("summary").click();
    await notice.getByText("llama-swap loading model: talker").waitFor();
    const thought = answer(page).locator("details", { hasText: "Reasoning (12 chars" });
    await thought.locator("summary").click();
    expect((await thought.locator("pre").innerText()).trim()).toBe("real thought");
  });

  check("UI-52", "a load test leaves connections for the rest of the page", async ({ page, stage, go }) => {
    ready(stage);
    const open = new Set<ServerResponse>();
    let most = 0;
    stream(stage, /chat\/completions/, (response) => {
      open.add(response);
      most = Math.max(most, open.size);
      response.on("close", () => open.delete(response));
      response.write(delta("x"));
    });
    await go("/ui/playground/load");
    await choose(page);
    await page.getByLabel("Times").fill("12");
    await page.getByLabel("Times").blur();
    await page.getByRole("button", { name: "Add" }).click();
    await page.getByRole("button", { name: "Go", exact: true }).click();
    await settled(() => open.size === 4);
    await settled(async () => (await page.locator("td", { hasText: "queued in browser" }).count()) === 8);
    await page.locator(".nav").getByRole("link", { name: "Activity", exact: true }).click();
    await page.getByText("No requests recorded yet").waitFor(); // frozen, it would wait for a reply that never ends
    expect(most).toBe(4);
    await page.goBack();
    await page.getByRole("button", { name: "Stop" }).click();
    await settled(() => open.size === 0);
    await settled(async () => (await page.locator("td", { hasText: "stopped" }).count()) === 12);
  });

  check("UI-53", "images, speech, transcription, rerank and embeddings send the right bodies, show results and errors, and stop", async ({ page, stage, go, allow }) => {
    allow(/500/);
    ready(stage);
    await go("/ui/playground/images");
    await choose(page);
    stage.on("POST", /images\/generations/, { json: { data: [{ b64_json: PNG.toString("base64") }] } });
    await page.getByLabel("Prompt").fill("a fox");
    await page.getByRole("button", { name: "Generate" }).click();
    await page.getByRole("img", { name: "Generated 1" }).waitFor();
    expect(bodyOf(stage, /images\/generations/)).toEqual({ model: "talker", prompt: "a fox", n: 1, size: "1024x1024" });
    stage.on("POST", /sdapi\/v1\/txt2img/, { json: { images: [PNG.toString("base64"), PNG.toString("base64")] } });
    await page.getByRole("button", { name: "SDAPI" }).click();
    await page.getByRole("button", { name: "Generate" }).click();
    await page.getByRole("img", { name: "Generated 2" }).waitFor();
    expect(bodyOf(stage, /txt2img/)).toEqual({ model: "talker", prompt: "a fox", width: 1024, height: 1024, steps: 20, cfg_scale: 7, seed: -1, batch_size: 1 });
    const cancels = async (path: RegExp, button: string) => {
      const left: boolean[] = [];
      stage.on("POST", path, (_, response) => void response.on("close", () => left.push(true)));
      await asks(stage, "POST", path, () => page.getByRole("button", { name: button, exact: true }).click());
      await page.getByRole("button", { name: "Cancel" }).click();
      await page.getByRole("button", { name: button, exact: true }).waitFor();
      await settled(() => left.length === 1);
      expect(await page.locator("main [role=alert]").count()).toBe(0); // what was cancelled is no error
    };
    await cancels(/txt2img/, "Generate");

    await page.getByRole("navigation", { name: "Kinds of models" }).getByRole("link", { name: "Speech" }).click();
    await choose(page);
    for (const [shape, first] of [[["anna"], "anna"], [{ voices: ["bert"] }, "bert"], [{ voices: [{ id: "cara" }] }, "cara"]] as const) {
      stage.on("GET", /audio\/voices/, { json: shape });
      await page.getByRole("button", { name: "Ask the server for its voices" }).click();
      await settled(async () => (await page.getByRole("combobox", { name: "Voice" }).inputValue()) === first);
    }
    stage.on("GET", /audio\/voices/, { status: 500, json: {} });
    await page.getByRole("button", { name: "Ask the server for its voices" }).click();
    await settled(async () => (await page.getByRole("combobox", { name: "Voice" }).inputValue()) === "coral");
    stage.on("POST", /audio\/speech/, (_, response) => void response.writeHead(200, { "Content-Type": "audio/wav" }).end(Buffer.from("RIFF")));
    await page.getByLabel("Text").fill("say this");
    await page.getByRole("button", { name: "Speak" }).click();
    await page.locator("audio").waitFor();
    expect(bodyOf(stage, /audio\/speech/)).toEqual({ model: "talker", input: "say this", voice: "coral" });
    await cancels(/audio\/speech/, "Speak");

    await page.getByRole("navigation", { name: "Kinds of models" }).getByRole("link", { name: "Transcription" }).click();
    await choose(page);
    await page.locator(".drop input[type=file]").setInputFiles({ name: "voice.m4a", mimeType: "audio/mp4", buffer: Buffer.from("sound") });
    stage.on("POST", /audio\/transcriptions/, { json: { text: "what was said" } });
    await page.getByRole("button", { name: "Transcribe" }).click();
    await page.getByText("what was said").waitFor();
    const form = stage.requests("POST", /transcriptions/).at(-1)!.body.toString();
    expect(form).toContain('name="model"\r\n\r\ntalker');
    expect(form).toContain('filename="voice.m4a"');
    await cancels(/transcriptions/, "Transcribe");

    await page.getByRole("navigation", { name: "Kinds of models" }).getByRole("link", { name: "Rerank" }).click();
    await choose(page);
    stage.on("POST", /rerank/, { json: { results: [{ index: 1, relevance_score: 0.25 }, { index: 0, relevance_score: 0.875 }] } });
    await page.getByRole("button", { name: "Rerank" }).click();
    await page.getByText("0.875").waitFor();
    expect(Object.keys(bodyOf(stage, /rerank/)).sort()).toEqual(["documents", "model", "query"]);
    expect((bodyOf(stage, /rerank/)["documents"] as string[]).length).toBe(9);
    expect(await page.locator("main").innerText()).not.toMatch(/\d tokens/);
    await cancels(/rerank/, "Rerank");
    stage.on("POST", /rerank/, { status: 500, json: { error: { message: "no ranking today" } } });
    await page.getByRole("button", { name: "Rerank" }).click();
    await page.getByRole("alert").getByText("no ranking today").waitFor();

    await page.getByRole("navigation", { name: "Kinds of models" }).getByRole("link", { name: "Embeddings" }).click();
    await choose(page);
    stage.on("POST", /embeddings/, { json: { data: [{ index: 0, embedding: [1, 0] }, { index: 1, embedding: [1, 0] }, { index: 2, embedding: [0, 1] }] } });
    await page.getByRole("button", { name: "Compare" }).click();
    await page.getByText("2 numbers each").waitFor();
    expect(await page.locator("table.heat tbody tr").first().locator("td").allInnerTexts()).toEqual(["1.000, 0.000", "1.000", "1.000", "0.000"]);
    await cancels(/embeddings/, "Compare");
  });

  check("UI-54", "a remembered model that is gone is shown as missing, and nothing can be sent", async ({ page, stage, go }) => {
    ready(stage);
    await page.addInitScript(() => localStorage.setItem("llamaswap.ui", JSON.stringify({ v: 1, prefs: { chatModel: "departed" } })));
    await go("/ui/playground/chat");
    await box(page).fill("hello?");
    await page.getByText("departed is no longer configured").waitFor();
    expect(await page.getByRole("button", { name: "Send" }).isDisabled()).toBe(true);
    expect(await page.getByRole("button", { name: "Send" }).getAttribute("title")).toContain("no longer configured");
  });

  check("UI-78", "models are found by typing, in groups, loaded ones first, aliases below theirs", async ({ page, stage, go }) => {
    script(stage, [model("talker"), model("warm", "ready"), model("painter"), model("far", "", { peerID: "east" })]);
    const entry = (id: string, type: string, more = {}, facts = {}) => ({ id, ...facts, meta: { llamaswap: { type, ...more } } });
    stage.on("GET", /^\/v1\/models/, { json: { object: "list", data: [entry("talker", "model", { aliases: ["gpt-x"] }, { name: "The Talker" }), entry("warm", "model", {}, { status: { value: "loaded" } }), entry("painter", "model", {}, { capabilities: { image_generation: true } }), entry("pool", "selector", { strategy: "warm", targets: ["talker"] }), entry("east/far", "peer", { peerID: "east" })] } });
    await go("/ui/playground/images");
    const picker = page.getByRole("combobox", { name: "Model", exact: true });
    const options = page.getByRole("listbox", { name: "Model", exact: true });
    await picker.click();
    await options.waitFor();
    expect(await options.getByRole("group").evaluateAll((groups) => groups.map((group) => group.getAttribute("aria-label")))).toEqual(["Matching capabilities", "Selectors", "Local, loaded", "Local", "Peers"]);
    const shown = async () => (await options.getByRole("option").allInnerTexts()).map((text) => text.split("\n")[0]);
    expect(await shown()).toEqual(["painter", "pool", "warm", "The Talker", "↳ gpt-x", "east/far"]);
    await picker.fill("gpt");
    await settled(async () => String(await shown()) === "The Talker,↳ gpt-x");
    await picker.fill("nothing like it");
    await options.getByText("Nothing matches").waitFor();
    await page.keyboard.press("Escape");
    expect(await picker.inputValue()).toBe("");
    await page.keyboard.press("ArrowDown"); // opens; then by arrows
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    expect(await options.locator('[aria-selected="true"]').innerText()).toContain("warm");
    expect(await picker.getAttribute("aria-activedescendant")).toBe(await options.locator('[aria-selected="true"]').getAttribute("id"));
    await page.keyboard.press("Enter");
    await settled(async () => (await picker.inputValue()) === "warm");
    await page.locator(".picker .state", { hasText: "loaded" }).waitFor();
    await picker.click();
    await options.getByRole("option", { name: "The Talker" }).click();
    await settled(async () => (await picker.inputValue()) === "The Talker");
    await page.getByRole("button", { name: "Clear model" }).click();
    await settled(async () => (await picker.inputValue()) === "");
    expect(await page.getByRole("button", { name: "Generate" }).getAttribute("title")).toBe("Choose a model first");
  });

  check("UI-79", "sounds travel as sounds, sampler settings as numbers; a conversation can be named", async ({ page, stage, go }) => {
    ready(stage);
    await go("/ui/playground/chat");
    await choose(page);
    stream(stage, /chat\/completions/, (response) => void response.end(`${delta("heard")}data: [DONE]\n\n`));
    await page.getByRole("button", { name: "Settings of the chat" }).click();
    for (const [label, value] of [["top_p", "0.9"], ["top_k", "20"], ["min_p", "0.05"], ["seed", "7"]]) await page.getByLabel(label!, { exact: true }).fill(value!);
    await page.getByLabel("Stop at, one text a line").fill("END\n###");
    await page.getByLabel("Extra parameters, JSON, merged last").fill('{"top_k": 30, "repeat_penalty": 1.1}');
    await escape(page);
    const attach = page.locator(".composer input[type=file]").first();
    await attach.setInputFiles({ name: "voice.wav", mimeType: "audio/x-wav", buffer: Buffer.from("RIFFsound") });
    await page.getByLabel("Sound to be sent, 1").waitFor();
    await say(page, "what do you hear?");
    await answer(page).getByText("heard").waitFor();
    const sound = { type: "input_audio", input_audio: { data: Buffer.from("RIFFsound").toString("base64"), format: "wav" } };
    const body = bodyOf(stage, /chat\/completions/);
    expect(body["messages"]).toEqual([{ role: "user", content: [{ type: "text", text: "what do you hear?" }, sound] }]);
    expect(body).toMatchObject({ top_p: 0.9, top_k: 30, min_p: 0.05, seed: 7, stop: ["END", "###"], repeat_penalty: 1.1 });
    await page.getByLabel("Attached sound 1").waitFor();
    await answered(page, 1);
    await attach.setInputFiles({ name: "song.flac", mimeType: "audio/flac", buffer: Buffer.from("x") });
    await page.getByText("song.flac was not attached: only").waitFor();
    await settingsOf(page, "messages");
    await say(page, "again");
    await page.getByRole("alert").getByText("The messages API takes no sound").waitFor();
    await page.getByRole("button", { name: "Conversations" }).click();
    await page.getByLabel("Name").fill("about sounds");
    await page.getByLabel("Name").press("Enter");
    await settled(async () => (await page.getByLabel("Conversation", { exact: true }).locator("option").allInnerTexts()).join() === "about sounds");
    await settled(() => kept(page, "again"));
    await page.keyboard.press("Escape");
    await reload(page);
    await page.getByLabel("Attached sound 1").waitFor();
    await page.getByRole("button", { name: "Conversations" }).click();
    await settled(async () => (await page.getByLabel("Name").inputValue()) === "about sounds");
  });

  check("UI-80", "pictures made before can be seen again; a load test keeps the order it is given", async ({ page, stage, go }) => {
    ready(stage);
    await go("/ui/playground/images");
    await choose(page);
    for (const [i, prompt] of ["a fox", "a hare"].entries()) {
      stage.on("POST", /images\/generations/, { json: { data: [{ b64_json: Buffer.concat([PNG, Buffer.from([i])]).toString("base64") }] } });
      await page.getByLabel("Prompt").fill(prompt);
      await page.getByRole("button", { name: "Generate" }).click();
      await page.getByRole("button", { name: `Show again: ${prompt}` }).waitFor();
    }
    const large = page.getByRole("img", { name: "Generated 1" });
    const second = await large.getAttribute("src");
    await page.getByRole("button", { name: "Show again: a fox" }).click();
    await settled(async () => (await large.getAttribute("src")) !== second);
    await page.getByRole("navigation", { name: "Kinds of models" }).getByRole("link", { name: "Load test" }).click();
    for (const id of ["talker", "other", "talker"]) {
      await choose(page, id);
      await page.getByRole("button", { name: "Add" }).click();
    }
    const list = page.getByRole("list", { name: "Requests to send" }).getByRole("listitem");
    const order = async () => (await list.allInnerTexts()).map((text) => /[a-z]+/.exec(text)?.[0]).join();
    await settled(async () => (await order()) === "talker,other,talker");
    await list.nth(1).dragTo(list.nth(0));
    await settled(async () => (await order()) === "other,talker,talker");
    await page.getByRole("button", { name: "1 other" }).focus();
    await page.keyboard.press("Alt+ArrowRight");
    await settled(async () => (await order()) === "talker,other,talker");
    await settled(() => page.evaluate(() => document.activeElement?.id === "request-1")); // after the next frame
    await reload(page);
    await settled(async () => (await order()) === "talker,other,talker");
    stream(stage, /chat\/completions/, (response) => void response.end(`${delta("x")}data: [DONE]\n\n`));
    await page.getByLabel("At once").fill("1");
    await page.getByLabel("At once").blur();
    await page.getByRole("button", { name: "Go", exact: true }).click();
    await settled(async () => (await page.locator("td", { hasText: "done" }).count()) === 3);
    expect(stage.requests("POST", /chat\/completions/).map((item) => (JSON.parse(item.body.toString()) as { model: string }).model)).toEqual(["talker", "other", "talker"]);
  });
});
