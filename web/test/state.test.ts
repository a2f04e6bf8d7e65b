import { describe, expect, test, vi } from "vitest";
import { lanesOf, marksOf, minus, overlap, segmentsOf, sentence, stacked } from "../src/lib/residency";
import { DEFAULTS, imported, validated } from "../src/state/prefs";
import { fromHash, parse } from "../src/state/router";
import { chatBody } from "../src/wire/chat";
import { interrupted, Reply } from "../src/wire/completion";
import { conversationOf } from "../src/lib/conversation";
import { Hub, type FromHub } from "../src/worker/hub";
import { decodeInflight } from "../src/wire/decode";

const change = (at: number, model: string, to: string, note = "") => ({ at, model, to, note });

describe("residency", () => {
  test("phases follow the changes and are cut to the window", () => {
    const changes = [change(10, "m", "starting"), change(20, "m", "ready"), change(50, "m", "stopping"), change(55, "m", "stopped")];
    expect(segmentsOf(changes, "m", "stopped", 0, 15, 100)).toEqual([{ from: 15, to: 20, phase: "starting" }, { from: 20, to: 50, phase: "ready" }, { from: 50, to: 55, phase: "stopping" }]);
    expect(segmentsOf([], "m", "ready", 40, 0, 100)).toEqual([{ from: 40, to: 100, phase: "ready" }]);
  });
  test("intervals", () => {
    expect(overlap([{ from: 0, to: 10 }], [{ from: 5, to: 20 }])).toEqual([{ from: 5, to: 10 }]);
    expect(minus([{ from: 0, to: 10 }], [{ from: 3, to: 5 }])).toEqual([{ from: 0, to: 3 }, { from: 5, to: 10 }]);
    expect(stacked([{ from: 0, to: 10 }, { from: 5, to: 15 }])).toEqual([{ from: 0, to: 5, count: 1 }, { from: 5, to: 10, count: 2 }, { from: 10, to: 15, count: 1 }]);
  });
  test("a request waits until its model is ready, then runs, then drains", () => {
    const base = 1_000_000;
    const request = decodeInflight({ id: "1", timestamp: new Date(base).toISOString(), model: "m" }, 0);
    const [lane] = lanesOf({ models: [{ id: "m", state: "stopping", since: 0 }], changes: [change(base + 1000, "m", "starting"), change(base + 3000, "m", "ready"), change(base + 6000, "m", "stopping")], inflight: [request], rows: [], from: base - 1000, to: base + 8000 });
    expect(lane!.waiting).toEqual([{ from: base, to: base + 3000, count: 1 }]);
    expect(lane!.busy).toEqual([{ from: base + 3000, to: base + 6000, count: 1 }]);
    expect(lane!.draining).toEqual([{ from: base + 6000, to: base + 8000, count: 1 }]);
  });
  test("a decision tells who went, who waited and why", () => {
    const decision = { time: "1970-01-01T00:00:05Z", kind: "swap", model: "b", evicted: ["a"], reason: "a is idle", waiters: 2, oldest_wait: 1.25, estimate: 4 };
    expect(sentence(decision)).toBe("b takes the place of a; 2 requests waited, the oldest 1.3 s; a is idle; expected to take 4.0 s");
    expect(marksOf([decision], [change(5000, "b", "starting")], 0, 10_000).length).toBe(1);
  });
  test("without decisions the changes themselves tell a swap from a load", () => {
    const swap = [change(1000, "a", "stopping"), change(1500, "a", "stopped"), change(1510, "b", "starting")];
    expect(marksOf([], swap, 0, 9000)).toMatchObject([{ model: "b", evicted: ["a"], kind: "swap" }]);
    expect(marksOf([], [change(1510, "b", "starting")], 0, 9000)).toMatchObject([{ evicted: [], kind: "load" }]);
  });
});

describe("preferences", () => {
  test("unknown fields are dropped, wrong ones become the default", () => {
    const prefs = validated({ theme: "neon", unlisted: true, pinned: ["a", 1], activitySize: 33, evil: 1 });
    expect(prefs.theme).toBe("system");
    expect(prefs.unlisted).toBe(true);
    expect(prefs.pinned).toEqual([]);
    expect(prefs.activitySize).toBe(25);
    expect("evil" in prefs).toBe(false);
    expect(validated("nonsense")).toEqual(DEFAULTS);
    expect(validated({ columnWidths: { inflight: { px: { model: 90 }, chosen: ["model"] }, other: 7 } }).columnWidths).toEqual({ inflight: { px: { model: 90 }, chosen: ["model"] } });
  });
  test("the reference program's keys are understood", () => {
    const old: Record<string, unknown> = { theme: true, "perf-window": 2, "app-title": "(set title)", "playground-endpoint": "v1/messages", "activity-histogram-collapsed": true, "activity-columns": { id: true, cached: false } };
    const prefs = validated(imported((key) => old[key]));
    expect(prefs).toMatchObject({ theme: "dark", perfRange: "1h", title: "", chatEndpoint: "messages", histogramsOpen: false });
    expect(prefs.activityColumns.hidden).toEqual(["cached"]);
  });
});

describe("router", () => {
  test.each([["/ui/", "overview", ""], ["/ui/models/org/name.v1", "model", "org/name.v1"], ["/ui/models/org%2Fmodel%20x", "model", "org/model x"], ["/ui/captures/7", "capture", "7"], ["/ui/playground/load", "playground", "load"], ["/ui/nope", "missing", "nope"], ["/ui/models/a%zz", "model", "a%zz"]])("%s", (path, page, arg) => {
    expect(parse(path, "")).toMatchObject({ page, arg });
  });
  test.each([["#/", "/ui/activity"], ["#/models/org%2Fx", "/ui/models/org%2Fx"], ["#/unknown", "/ui/activity"], ["#main", null]])("old bookmark %s", (hash, path) => {
    expect(fromHash(hash)).toBe(path);
  });
});

describe("replies", () => {
  const feed = (...values: unknown[]) => {
    const reply = new Reply();
    for (const value of values) reply.frame({ event: "message", id: "", data: typeof value === "string" ? value : JSON.stringify(value) });
    return reply;
  };
  test("text, reasoning, tools and figures of a stream", () => {
    const reply = feed({ choices: [{ delta: { reasoning: "hm" } }] }, "no json", { choices: [{ delta: { content: "hi", tool_calls: [{ index: 0, id: "t", function: { name: "f", arguments: "{" } }] } }] }, { choices: [{ delta: { tool_calls: [{ index: 0, function: { arguments: "}" } }] } }], timings: { predicted_n: 5, predicted_per_second: 20 } }, "[DONE]");
    expect([reply.text, reply.reasoning, reply.tools, reply.ended]).toEqual(["hi", "hm", [{ id: "t", name: "f", args: "{}" }], true]);
    expect(reply.figures).toEqual({ generated: 5, perSecond: 20 });
  });
  test("a stream without its end was interrupted; an error was not", () => {
    expect(interrupted(feed({ choices: [{ delta: { content: "x" } }] }))).toBe(true);
    const failed = feed({ error: { message: "lost" } });
    expect([failed.error, interrupted(failed)]).toEqual(["lost", false]);
  });
  test("a whole answer of every API", () => {
    expect(feed({ choices: [{ message: { content: "a" } }] }).text).toBe("a");
    expect(feed({ choices: [{ text: "b" }] }).text).toBe("b");
    expect(feed({ type: "message", content: [{ type: "text", text: "c" }] }).text).toBe("c");
    expect(feed({ object: "response", output: [{ content: [{ text: "d" }] }] }).text).toBe("d");
  });
});

describe("request bodies", () => {
  const settings = { endpoint: "completions" as const, system: "be kind", temperature: 0.5, maxTokens: 10, extra: { top_p: 0.9 } };
  const said = [{ role: "user" as const, text: "hi", images: ["data:image/png;base64,AAA"] }, { role: "assistant" as const, text: "yes", images: [] }];
  test("completions", () => {
    expect(chatBody("m", said, settings)).toEqual({ model: "m", stream: true, temperature: 0.5, max_tokens: 10, top_p: 0.9, messages: [{ role: "system", content: "be kind" }, { role: "user", content: [{ type: "text", text: "hi" }, { type: "image_url", image_url: { url: "data:image/png;base64,AAA" } }] }, { role: "assistant", content: "yes" }] });
  });
  test("messages", () => {
    const body = chatBody("m", said, { ...settings, endpoint: "messages", maxTokens: 0 });
    expect(body).toMatchObject({ system: "be kind", max_tokens: 4096 });
    expect(JSON.stringify(body)).toContain('{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAA"}}');
    expect(() => chatBody("m", [{ role: "user", text: "", images: ["http://x/a.png"] }], { ...settings, endpoint: "messages" })).toThrow("as data");
  });
  test("responses", () => {
    const body = chatBody("m", said, { ...settings, endpoint: "responses" });
    expect(body).toMatchObject({ instructions: "be kind", max_output_tokens: 10 });
    expect(JSON.stringify(body)).toContain('"type":"output_text"');
  });
});

test("a captured request becomes a conversation", () => {
  const got = conversationOf({ system: "s", messages: [{ role: "user", content: [{ type: "text", text: "q" }, { type: "image", source: { media_type: "image/png", data: "AA" } }] }, { role: "assistant", content: null, tool_calls: [{ function: { name: "f", arguments: '{"a":1}' } }] }, { role: "tool", content: "42" }], tools: [{ type: "function", function: { name: "f", parameters: {} } }] })!;
  expect(got.turns.map((turn) => [turn.role, turn.parts.map((part) => part.kind)])).toEqual([["system", ["text"]], ["user", ["text", "image"]], ["assistant", ["call"]], ["tool", ["result"]]]);
  expect(got.tools).toEqual([{ name: "f", schema: "{}" }]);
  expect(conversationOf({ input: "x", encoding_format: "float" })).toBeNull();
});

describe("hub", () => {
  test("a tab that comes late is told what is so now", async () => {
    const frame = (type: string, data: unknown) => `event:message\ndata:${JSON.stringify({ type, data: JSON.stringify(data) })}\n\n`;
    const text = frame("modelStatus", [{ id: "m" }]) + frame("inflight", { operation: "snapshot", requests: [{ id: "1" }] }) + frame("inflight", { operation: "remove", id: "1" });
    const before = globalThis.fetch;
    globalThis.fetch = (async () => new Response(new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode(text)) }), { status: 200 })) as typeof fetch;
    try {
      const hub = new Hub("/api/events");
      hub.attach({ post: () => undefined });
      await new Promise((resolve) => setTimeout(resolve, 50));
      const told: FromHub[] = [];
      hub.attach({ post: (message) => told.push(message) });
      const events = told.filter((message) => message.kind === "events")[0]!;
      expect(told[0]).toMatchObject({ kind: "status", status: "connected" });
      expect(events).toMatchObject({ reset: true });
      expect(events.events.map((event) => event.type)).toEqual(["modelStatus", "inflight"]);
      expect(JSON.parse(events.events[1]!.data)).toEqual({ operation: "snapshot", requests: [] });
    } finally {
      globalThis.fetch = before;
    }
  });

  test("a stream that is refused is asked for again after 1, 2, 4, 5, 5 s, more or less a fifth", async () => {
    vi.useFakeTimers();
    const asked: number[] = [];
    vi.stubGlobal("fetch", async () => {
      asked.push(Date.now());
      return new Response("", { status: 503 });
    });
    try {
      new Hub("/api/events").attach({ post: () => undefined });
      await vi.advanceTimersByTimeAsync(24_000);
      const pauses = asked.slice(1, 6).map((at, i) => at - asked[i]!);
      expect(pauses.length).toBe(5);
      for (const [i, about] of [1_000, 2_000, 4_000, 5_000, 5_000].entries()) {
        expect(pauses[i]).toBeGreaterThanOrEqual(0.8 * about);
        expect(pauses[i]).toBeLessThanOrEqual(1.2 * about);
      }
    } finally {
      vi.unstubAllGlobals();
      vi.useRealTimers();
    }
  });
});
