import { describe, expect } from "vitest";
import { activityPages, asks, check, flight, model, pause, quiet, reload, row, script, settled, visit } from "./harness";

const STATS = { total_requests: 3, total_input_tokens: 10, total_output_tokens: 20, total_cache_tokens: 0, prompt_histogram: null, gen_histogram: null };
const b64 = (text: string) => Buffer.from(text).toString("base64");

describe("activity and captures", () => {
  check("UI-33", "an empty store says what to do next", async ({ page, stage, go }) => {
    script(stage, [model("m")]);
    activityPages(stage, () => []);
    stage.on("GET", /metrics\/stats/, { json: { ...STATS, total_requests: 0 } });
    await go("/ui/activity");
    await page.getByText("No requests recorded yet").waitFor();
    await page.locator(".empty code", { hasText: "/v1" }).waitFor();
    await page.getByText("No prompt speed data yet").waitFor();
    await page.getByText("No generation speed data yet").waitFor();
  });

  check("UI-34", "a failing store is told; rows that were there stay, marked stale", async ({ page, stage, go, allow }) => {
    allow(/500/);
    script(stage, [model("m")]);
    stage.on("GET", /metrics\/activity/, { status: 500, json: { error: { message: "failed to get activity" } } });
    await go("/ui/activity");
    await page.locator("main [role=alert]", { hasText: "failed to get activity" }).first().waitFor();
    activityPages(stage, () => [row(1)]);
    await page.locator("main [role=alert]", { hasText: "failed to get activity" }).first().getByRole("button", { name: "Retry" }).click();
    await page.locator('tr[data-row="1"]').waitFor();
    stage.on("GET", /metrics\/activity/, { status: 500, json: { error: { message: "failed to get activity" } } });
    stage.send("activity", { id: 2 });
    await page.getByText("What is shown is from before").waitFor();
    await page.locator('tr[data-row="1"]').waitFor();
  });

  check("UI-35", "a burst of events asks at most twice a second, and never on later pages", async ({ page, stage, go }) => {
    script(stage, [model("m")]);
    const rows = Array.from({ length: 90 }, (_, i) => row(90 - i));
    activityPages(stage, () => rows);
    await go("/ui/activity");
    await page.locator('tr[data-row="90"]').waitFor();
    const asked = () => stage.requests("GET", /metrics\/activity\?page=/).length;
    let before = asked();
    const began = performance.now();
    for (let i = 0; i < 100; i++) {
      stage.send("activity", { id: 100 + i });
      await pause(9);
    }
    // one at once and one a second, however long this machine took for it
    expect(asked() - before).toBeLessThanOrEqual(1 + Math.ceil((performance.now() - began) / 1000));
    await settled(() => asked() > before);
    await visit(page, `${stage.url}/ui/activity?page=3`);
    await page.locator('tr[data-row="40"]').waitFor();
    before = asked();
    for (let i = 0; i < 20; i++) stage.send("activity", { id: 300 + i });
    stage.send("modelStatus", [model("m"), model("told-after-them", "ready")]);
    await page.locator(".strip", { hasText: "told-after-them" }).waitFor();
    await quiet(page);
    expect(asked() - before).toBe(0);
    expect(await page.locator("tr[data-row]").first().getAttribute("data-row")).toBe("40");
  });

  check("UI-36", "sorting, page size and filters ask the right questions", async ({ page, stage, go }) => {
    script(stage, [model("m")]);
    activityPages(stage, () => Array.from({ length: 60 }, (_, i) => row(60 - i)));
    await go("/ui/activity?page=2");
    await page.locator('tr[data-row="35"]').waitFor();
    const last = () => new URL(stage.requests("GET", /metrics\/activity\?page=/).at(-1)!.path, "http://x").searchParams;
    for (const [title, sort] of [["Status", "resp_status_code"], ["Decode", "gen_speed"]]) {
      for (const order of ["asc", "desc"]) {
        await page.getByRole("columnheader", { name: title!, exact: true }).getByRole("button").click();
        await settled(() => last().get("sort") === sort && last().get("order") === order && last().get("page") === "1");
      }
    }
    await page.getByRole("button", { name: "Filters" }).click();
    await page.getByLabel("Rows").selectOption("10");
    await settled(() => last().get("limit") === "10");
    await page.getByLabel("ID from").fill("5");
    await page.getByLabel("ID to").fill("10");
    await page.getByLabel("ID to").blur();
    await settled(() => last().get("min_id") === "5" && last().get("max_id") === "10");
    await page.getByLabel("ID from").fill("abc");
    await page.getByLabel("ID from").blur();
    await page.getByText("a whole number from 1").waitFor();
    expect(await page.getByLabel("ID from").getAttribute("aria-invalid")).toBe("true");
    await quiet(page);
    expect(stage.requests("GET", /min_id=abc/)).toEqual([]);
  });

  check("UI-37", "a failed request shows its words in the row and in its capture", async ({ page, stage, go }) => {
    script(stage, [model("m")]);
    activityPages(stage, () => [row(7, { resp_status_code: 502, error_msg: "connection refused by the model", has_capture: true })]);
    stage.on("GET", /^\/api\/captures\/7/, { json: { id: 7, req_path: "/v1/chat/completions", req_headers: {}, req_body: b64("{}"), resp_headers: {}, resp_body: null } });
    await go("/ui/activity");
    const failed = page.locator('tr[data-row="7"]');
    await failed.getByText("connection refused by the model").waitFor();
    expect(await failed.locator('svg[data-mark="triangle"]').count()).toBe(1);
    expect(await failed.getAttribute("class")).toContain("failed");
    await failed.getByRole("button", { name: /View/ }).click();
    const first = page.getByRole("dialog").locator(".body > *").first();
    await settled(async () => (await first.innerText()).includes("connection refused by the model"));
  });

  check("UI-38", "columns are hidden and moved by mouse and keys, and remembered", async ({ page, stage, go }) => {
    script(stage, [model("m")]);
    activityPages(stage, () => [row(1)]);
    await page.addInitScript(() => {
      if (!localStorage.getItem("llamaswap.ui")) localStorage.setItem("llamaswap.ui", JSON.stringify({ v: 1, prefs: { activityColumns: { hidden: ["cached", "gone-column"], order: ["gone-column", "id"] } } }));
    });
    await go("/ui/activity");
    const heads = () => page.getByRole("group", { name: "Requests, table", exact: true }).locator("th").allInnerTexts();
    await settled(async () => (await heads()).length > 3);
    expect(await heads()).not.toContain("Cached");
    expect(await heads()).toContain("Meta"); // what the stored set does not know is shown, at its place
    await page.getByRole("button", { name: "Columns" }).last().click();
    await page.getByRole("checkbox", { name: "Prompt", exact: true }).uncheck();
    await settled(async () => !(await heads()).includes("Prompt"));
    await page.getByRole("checkbox", { name: "Model", exact: true }).focus();
    await page.keyboard.press("Alt+ArrowUp");
    await settled(async () => (await heads()).indexOf("Model") < (await heads()).indexOf("Time"));
    await page.getByRole("button", { name: "Move Status up" }).click();
    await settled(async () => (await heads()).indexOf("Status") < (await heads()).indexOf("Path"));
    await page.keyboard.press("Escape");
    const before = await heads();
    await reload(page); // at once: what was not yet stored is stored when the page is left
    await settled(async () => String(await heads()) === String(before));
  });

  check("UI-39", "requests in flight follow the stream, count on, and can be cancelled", async ({ page, stage, go, allow }) => {
    allow(/404/);
    script(stage, [model("m", "ready")], [flight("1", "m"), flight("2", "m"), flight("3", "m")]);
    activityPages(stage, () => []);
    stage.on("POST", /inflight\/3\/cancel/, { status: 404, json: { error: { message: "no such request" } } });
    await go("/ui/activity");
    await settled(async () => (await page.locator("tr[data-request]").count()) === 3);
    stage.send("inflight", { operation: "upsert", request: flight("2", "m", { resp_bytes: 2048 }) });
    await page.locator('tr[data-request="2"]', { hasText: "2.00 KB" }).waitFor();
    stage.send("inflight", { operation: "remove", id: "1" });
    await settled(async () => (await page.locator("tr[data-request]").count()) === 2);
    const elapsed = async () => parseFloat(/([\d.]+)s/.exec(await page.locator('tr[data-request="3"]').innerText())![1]!);
    const first = await elapsed();
    await settled(async () => (await elapsed()) > first + 0.4);
    await asks(stage, "POST", /inflight\/3\/cancel/, () => page.getByRole("button", { name: "Cancel request 3" }).click());
    await quiet(page);
    expect(await page.locator(".toast").count()).toBe(0);
    stage.send("inflight", { operation: "snapshot", requests: [] });
    await page.getByText("No in-flight requests").waitFor();
  });

  check("UI-40", "the session is read from the configured headers, whatever their case", async ({ page, stage, go }) => {
    script(stage, [model("m", "ready")], [flight("1", "m", { req_headers: { "X-TRACE": "session-9" } })]);
    stage.opening[1] = ["uiConfig", { activity: { session_id: ["x-trace"] } }];
    activityPages(stage, () => []);
    await go("/ui/activity");
    await page.getByRole("button", { name: "Columns" }).first().click();
    await page.getByRole("checkbox", { name: "Session ID" }).check();
    await page.keyboard.press("Escape");
    await page.locator('tr[data-request="1"]', { hasText: "session-9" }).waitFor();
    stage.send("uiConfig", { activity: { session_id: [] } });
    await settled(async () => !(await page.locator('tr[data-request="1"]').innerText()).includes("session-9"));
  });

  check("UI-41", "the export is one escaped line a row, with the visible columns, and can be copied without a clipboard", async ({ page, stage, go }) => {
    await page.addInitScript(() => Object.defineProperty(navigator, "clipboard", { value: undefined }));
    script(stage, [model("m")]);
    const tokens = (input: number, speed: number) => ({ cache_tokens: -1, draft_tokens: -1, draft_acc_tokens: -1, input_tokens: input, output_tokens: 10, prompt_per_second: speed, tokens_per_second: 10 });
    activityPages(stage, () => [row(2, { metadata: { note: "a|b\nc" }, tokens: tokens(100, 100) }), row(1, { tokens: tokens(300, 600) })]);
    await go("/ui/activity");
    await page.locator('tr[data-row="2"]').waitFor();
    await page.getByRole("button", { name: "Columns" }).last().click();
    await page.getByRole("checkbox", { name: "Meta" }).check();
    await page.getByRole("checkbox", { name: "Cached" }).uncheck();
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Export" }).click();
    const text = await page.getByRole("textbox", { name: "Export" }).inputValue();
    expect(text).toContain("note=a\\|b c");
    expect(text).toMatch(/\| ID \| Time \|/);
    expect(text.split("\n").find((line) => line.startsWith("| ID"))).not.toContain("Cached");
    expect(text).toContain("| Prompt | 400 (266.67 t/s) |"); // 400 ÷ (100/100 + 300/600)
    expect(text).toMatch(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/);
    // told for two seconds only
    await page.getByRole("dialog").locator("footer").evaluate((footer) => new MutationObserver(() => (document.documentElement.dataset["told"] ??= footer.textContent!)).observe(footer, { childList: true, subtree: true, characterData: true }));
    await page.getByRole("dialog").getByRole("button", { name: "Copy" }).click();
    await page.locator("html[data-told]").waitFor();
    expect(await page.locator("html").getAttribute("data-told")).toMatch(/Copied!|Press Ctrl\+C/);
  });

  check("UI-42", "a histogram of one bin is one bar in the middle; none says so", async ({ page, stage, go }) => {
    script(stage, [model("m")]);
    activityPages(stage, () => [row(1)]);
    stage.on("GET", /metrics\/stats/, { json: { ...STATS, prompt_histogram: { bins: [3], min: 100, max: 100, binSize: 0, p50: 100, p95: 100, p99: 100 } } });
    await go("/ui/activity");
    const bars = page.locator(".histogram rect");
    await settled(async () => (await bars.count()) === 1);
    const x = Number(await bars.getAttribute("x"));
    expect(x + 24).toBeCloseTo(34 + (480 - 34) / 2, 0);
    await page.getByText("No generation speed data yet").waitFor();
    expect(await page.content()).not.toContain("NaN");
  });

  const SSE = (frames: unknown[]) => frames.map((frame) => `data: ${typeof frame === "string" ? frame : JSON.stringify(frame)}\n\n`).join("");
  check("UI-43", "captures of every kind can be read; missing and unreachable ones are told apart", async ({ page, stage, allow, url }) => {
    allow(/404/, /ERR_/);
    script(stage, [model("m")]);
    activityPages(stage, () => []);
    const capture = (id: number, type: string, body: string | null, path = "/v1/chat/completions") => stage.on("GET", new RegExp(`^/api/captures/${id}$`), { json: { id, req_path: path, req_headers: { "Content-Type": "application/json", Authorization: "[REDACTED]" }, req_body: b64(JSON.stringify({ model: "m", messages: [{ role: "user", content: "a question" }] })), resp_headers: { "content-type": type }, resp_body: body } });
    const open = async (id: number) => page.goto(`${url}/ui/captures/${id}`);
    capture(1, "application/json", b64('{"b":{"c":1}}'));
    await open(1);
    await page.locator("pre", { hasText: '"c": 1' }).waitFor();
    await page.getByText("a question").first().waitFor();
    const call = (args: string, more = {}) => ({ choices: [{ delta: { tool_calls: [{ index: 0, function: { arguments: args, ...more } }] } }] });
    capture(2, "text/event-stream", b64(SSE([{ choices: [{ delta: { reasoning_content: "thinking" } }] }, { choices: [{ delta: { content: "Hello " } }] }, { choices: [{ delta: { content: "there" } }] }, call('{"city":', { name: "weather" }), call('"Rome"}'), "[DONE]"])));
    await open(2);
    await page.locator("details", { hasText: "Response" }).getByText("Hello there").first().waitFor();
    await page.getByText("thinking").first().waitFor();
    await page.locator("details", { hasText: "Tool call weather" }).locator("pre", { hasText: '"city": "Rome"' }).last().waitFor();
    capture(3, "text/event-stream", b64(SSE([{ type: "content_block_delta", delta: { type: "text_delta", text: "from Anthropic" } }, { type: "message_stop" }])), "/v1/messages");
    await open(3);
    await page.getByText("from Anthropic").first().waitFor();
    capture(4, "text/event-stream", b64(SSE([{ type: "response.output_text.delta", delta: "from Responses" }, { type: "response.completed", response: {} }])), "/v1/responses");
    await open(4);
    await page.getByText("from Responses").first().waitFor();
    capture(5, "image/png", "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==");
    await open(5);
    await page.getByRole("img", { name: "Captured response" }).waitFor();
    capture(6, "application/octet-stream", Buffer.from([0, 1, 2, 255]).toString("base64"));
    await open(6);
    await page.getByText("(binary data – application/octet-stream)").waitFor();
    capture(7, "application/json", null);
    await open(7);
    await page.getByText("(empty)").first().waitFor();
    capture(8, "text/plain", "this is *no* base64");
    await open(8);
    await page.getByText("this is *no* base64").waitFor();
    stage.on("GET", /^\/api\/captures\/9$/, { status: 404, json: { error: { message: "capture not found" } } });
    await open(9);
    await page.getByText("Capture not found").waitFor();
    stage.on("GET", /^\/api\/captures\/10$/, (_, response) => void response.destroy());
    await open(10);
    await page.getByText("could not be read").waitFor();
  });

  check("UI-44", "what a capture holds is text and runs nothing", async ({ page, stage, url }) => {
    script(stage, [model("m")]);
    activityPages(stage, () => []);
    const evil = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">";
    stage.on("GET", /^\/api\/captures\/1$/, { json: { id: 1, req_path: "/v1/chat/completions", req_headers: {}, req_body: b64(JSON.stringify({ messages: [{ role: "user", content: evil }] })), resp_headers: { "Content-Type": "text/html" }, resp_body: b64(evil) } });
    await page.goto(`${url}/ui/captures/1`);
    await page.locator("pre", { hasText: "<script>" }).first().waitFor();
    expect(await page.locator("main img, main script").count()).toBe(0);
    expect(await page.title()).not.toContain("owned");
  });

  check("UI-82", "columns are made wider and narrower, stay so, and go back", async ({ page, stage, go }) => {
    script(stage, [model("m")]);
    const long = "a-model-with-a-name-that-is-longer-than-most-columns-are-wide";
    const rows = Array.from({ length: 30 }, (_, i) => row(30 - i, { model: long }));
    activityPages(stage, () => rows);
    await page.clock.setFixedTime(Date.now()); // a minute more is a column that is wider
    await go("/ui/activity?sort=time&order=desc");
    const table = page.getByRole("group", { name: "Requests, table", exact: true }).getByRole("table");
    const head = (name: string) => table.getByRole("columnheader", { name, exact: true });
    const grip = (name: string) => table.getByRole("separator", { name: `Width of ${name}`, exact: true });
    const box = async (name: string) => (await head(name).boundingBox())!;
    const width = async (name: string) => Math.round((await box(name)).width);
    const asked = () => stage.requests("GET", /metrics\/activity\?page=/).length;
    /** Each cell stands below its head. */
    const aligned = () => table.evaluate((it: HTMLTableElement) => [...it.rows].every((line) => [...line.cells].every((cell, i) => !it.rows[0]!.cells[i] || Math.abs(cell.getBoundingClientRect().x - it.rows[0]!.cells[i]!.getBoundingClientRect().x) < 1)));
    const drag = async (name: string, by: number, drop = true) => {
      await grip(name).scrollIntoViewIfNeeded();
      const at = (await grip(name).boundingBox())!;
      await page.mouse.move(at.x + at.width / 2, at.y + at.height / 2);
      await page.mouse.down();
      await page.mouse.move(at.x + at.width / 2 + by, at.y + at.height / 2, { steps: 12 });
      if (drop) await page.mouse.up();
    };
    await head("Model").waitFor();
    const automatic = await width("Model");
    // the heads stay on the screen while the page is scrolled
    await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
    await settled(async () => (await box("Time")).y === 0);
    await page.evaluate(() => scrollTo(0, 0));
    const before = { time: await box("Time"), asked: asked() };

    await drag("Model", 60);
    await settled(async () => (await width("Model")) === automatic + 60);
    expect(await box("Time")).toEqual(before.time); // what stands before it has not moved
    expect(await aligned()).toBe(true);
    expect(await head("Time").getAttribute("aria-sort")).toBe("descending"); // and nothing was sorted
    expect(new URL(page.url()).search).toBe("?sort=time&order=desc");
    expect(asked()).toBe(before.asked);

    await reload(page);
    await head("Model").waitFor();
    await settled(async () => (await width("Model")) === automatic + 60);

    // one write for each frame that is drawn, however often the pointer moves
    await drag("Model", 20, false);
    await page.evaluate(() => {
      const seen = ((globalThis as unknown as { seen: { writes: number; frames: number } }).seen = { writes: 0, frames: 0 });
      const count = () => requestAnimationFrame(() => void ((seen.frames += 1), count()));
      count();
      for (const it of document.querySelectorAll("table")) new MutationObserver((records) => (seen.writes += records.length)).observe(it, { attributeFilter: ["style"], subtree: true });
    });
    const at = (await grip("Model").boundingBox())!;
    await page.mouse.move(at.x - 120, at.y + 5, { steps: 80 });
    const seen = await settled(async () => {
      const counted = await page.evaluate(() => (globalThis as unknown as { seen: { writes: number; frames: number } }).seen);
      return counted.writes > 0 && counted;
    });
    expect(seen.writes).toBeLessThanOrEqual(seen.frames + 1);
    // Escape lets go and puts it back
    await page.keyboard.press("Escape");
    await settled(async () => (await width("Model")) === automatic + 60);
    await page.mouse.up();
    await quiet(page);
    expect(await width("Model")).toBe(automatic + 60);

    // keys: ten at a time, fifty with Shift, never narrower than can be used
    await grip("Model").focus();
    await page.keyboard.press("ArrowRight");
    await settled(async () => (await width("Model")) === automatic + 70);
    await settled(async () => (await grip("Model").getAttribute("aria-valuenow")) === String(automatic + 70));
    for (let i = 0; i < 20; i++) await page.keyboard.press("Shift+ArrowLeft");
    const least = Number(await grip("Model").getAttribute("aria-valuemin"));
    await settled(async () => (await width("Model")) === least);
    expect(await aligned()).toBe(true);
    expect(await table.evaluate((it) => it.scrollWidth <= it.parentElement!.clientWidth + 1)).toBe(true);
    // what is cut off is told
    const cell = table.locator('tr[data-row="30"] td').nth(2);
    await cell.hover();
    await settled(async () => (await cell.getAttribute("title")) === long);

    await page.keyboard.press("Home");
    await settled(async () => (await width("Model")) === automatic && !(await table.getAttribute("class"))!.includes("sized"));
    await drag("Status", 40);
    await drag("Time", 30);
    await grip("Time").dblclick();
    await settled(async () => (await width("Time")) < Math.round(before.time.width) + 30);
    expect(await table.getAttribute("class")).toContain("sized"); // Status is still as it was chosen
    await page.getByRole("button", { name: "Columns" }).last().click();
    await page.getByRole("button", { name: "Automatic widths" }).click();
    await settled(async () => (await box("Time")).width === before.time.width);
    await page.keyboard.press("Escape");
    await page.setViewportSize({ width: 390, height: 800 }); // cards have no columns
    await settled(async () => (await page.getByRole("separator").count()) === 0);
  });
});
