// A server for `npm run fake`: every route of the UI, answered from here, in any of the states a page can
// be in. No Python, no model, no graphics card.
import { flight, model, row, script } from "./told";
import { Stage } from "./stage";

export const STATES = ["usual", "huge", "empty", "loading", "error", "disconnected"] as const;
export type FakeState = (typeof STATES)[number];

const MODELS = [
  model("qwen3-30b", "ready", { name: "Qwen3 30B", description: "mixture of experts, 128k", ttl_s: 600, context_length: 131_072, capabilities: { function_calling: true }, port: 5801, pid: 4711, vram_mb: 18_900, group: "large", load_ms_p50: 21_000 }),
  model("gemma-3-12b", "starting", { since: new Date().toISOString(), load_ms_p50: 40_000, capabilities: { vision: true }, group: "large" }),
  model("embed", "ready", { ttl_s: 0, group: "beside", rss_mb: 900 }),
  model("broken", "stopped", { last_error: { message: "exited prematurely: no such file: model.gguf", exit_code: 1 }, group: "large" }),
  model("east/far-away", "", { peerID: "east" }),
];
const many = () => Array.from({ length: 300 }, (_, i) => model(`model-${i}-${"x".repeat(i % 60)}`, i % 7 ? "stopped" : "ready", { description: "a model among many, with a description that goes on for a while ".repeat(i % 5), group: `group-${i % 9}` }));
const rows = (n: number) => Array.from({ length: n }, (_, i) => row(n - i, { model: i % 3 ? "qwen3-30b" : "embed", has_capture: true, ...(i % 11 === 3 ? { resp_status_code: 502, error_msg: "connection refused by the model" } : {}) }));
const histogram = { bins: [1, 4, 9, 6, 2], min: 10, max: 60, binSize: 10, p50: 33, p95: 55, p99: 60 };

const samples = () => {
  const times = Array.from({ length: 120 }, (_, i) => new Date(Date.now() - (120 - i) * 5_000).toISOString());
  const wave = (i: number, of: number) => Math.round(50 + 40 * Math.sin(i / of));
  return {
    enabled: true,
    sys_stats: times.map((timestamp, i) => ({ timestamp, cpu_util_per_core: [wave(i, 7), wave(i, 9)], mem_total_mb: 64_000, mem_used_mb: 20_000 + 100 * wave(i, 5), mem_free_mb: 30_000, swap_total_mb: 0, swap_used_mb: 0, load_avg_1: 1, load_avg_5: 1, load_avg_15: 1, net_io: [{ name: "eth0", bytes_recv: i * 1e6, bytes_sent: i * 1e5 }] })),
    gpu_stats: times.flatMap((timestamp, i) => [0, 1].map((id) => ({ timestamp, id, name: "RTX 3090", uuid: `u${id}`, temp_c: 60, vram_temp_c: 70, gpu_util_pct: wave(i, 6 + id), mem_util_pct: 50, mem_used_mb: 18_900, mem_total_mb: 24_576, fan_speed_pct: 40, power_draw_w: 250 }))),
  };
};

/** Set the scene anew. Streams that are open end, so that the page sees the new one. */
export function setState(stage: Stage, state: FakeState): void {
  stage.off();
  const json = (path: RegExp, value: () => unknown) => stage.on("GET", path, (_, response) => void response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(value())));
  const list = state === "huge" ? many() : state === "empty" ? [] : MODELS;
  const shown = state === "empty" ? [] : rows(state === "huge" ? 900 : 40);
  for (const method of ["GET", "POST", "PUT"]) stage.on(method, /^(?!\/api\/events(\?|$))/, { status: 404, json: { error: { message: "the fake server has no such route" } } });
  json(/^\/v1\/models/, () => ({ object: "list", data: list.map(({ id, name }) => ({ id, name, meta: { llamaswap: { type: "model" } } })) }));
  json(/^\/api\/metrics\/stats/, () => ({ total_requests: shown.length, total_input_tokens: 400, total_output_tokens: 800, total_cache_tokens: 0, prompt_histogram: shown.length ? histogram : null, gen_histogram: shown.length ? histogram : null }));
  json(/^\/api\/profiles/, () => ({ active: null, profiles: state === "empty" ? [] : [{ id: "night", description: "small models only", pins: { chat: "embed", off: "" } }] }));
  json(/^\/api\/performance/, () => (state === "empty" ? { enabled: true, sys_stats: [], gpu_stats: [] } : samples()));
  json(/^\/api\/captures\//, () => ({ id: 1, req_path: "/v1/chat/completions", req_headers: { "Content-Type": "application/json" }, req_body: btoa('{"model":"m","messages":[{"role":"user","content":"hello"}]}'), resp_headers: { "content-type": "application/json" }, resp_body: btoa('{"choices":[{"message":{"content":"hi"}}]}') }));
  json(/^\/api\/version/, () => ({ version: "fake", commit: "0000000", build_date: "" }));
  json(/^\/api\/events\/history/, () => ({ events: list.slice(0, 20).map(({ id }, i) => ({ at: new Date(Date.now() - (200 - i) * 1000).toISOString(), model: id, state: "ready" })) }));
  json(/^\/api\/decisions/, () => ({ decisions: [] }));
  json(/^\/api\/config/, () => ({ sources: ["config.yaml"], loaded_at: new Date().toISOString(), config: { models: {} } }));
  json(/^\/api\/hardware/, () => ({ schema_version: 1, captured_at: new Date().toISOString(), cpu: { model: "Fake 9000", physical_core_count: 8, logical_thread_count: 16 }, memory: { capacity_bytes: 64 * 2 ** 30 }, accelerators: [] }));
  stage.on("GET", /^\/api\/metrics\/activity/, (request, response) => {
    const query = new URL(request.url!, "http://x").searchParams;
    const [limit, page] = [Number(query.get("limit") ?? 25), Number(query.get("page") ?? 1)];
    response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ data: shown.slice((page - 1) * limit, page * limit), page, limit, total: shown.length, total_pages: Math.ceil(shown.length / limit) }));
  });
  stage.on("GET", /^\/logs\/stream\//, (_, response) => void response.writeHead(200, { "Content-Type": "text/plain" }).write("a line of the log\n".repeat(state === "huge" ? 5_000 : 20)));
  stage.on("POST", /^\/v1\/chat\/completions/, async (_, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    for (const word of "This is **not** a model: only words, at a steady pace.".split(" ")) {
      response.write(`data: ${JSON.stringify({ choices: [{ delta: { content: `${word} ` } }] })}\n\n`);
      await new Promise((resolve) => setTimeout(resolve, 80));
    }
    response.end("data: [DONE]\n\n");
  });
  script(stage, list, state === "empty" ? [] : Array.from({ length: state === "huge" ? 200 : 2 }, (_, i) => flight(String(i), "qwen3-30b")));
  stage.opening.unshift(["logData", { source: "proxy", data: state === "empty" ? "" : "2026-01-01 12:00:00 [INFO] a line\n".repeat(state === "huge" ? 4_000 : 30) }]);
  if (state === "loading") {
    stage.events = "held";
    stage.on("GET", /^\/(api|v1)\/(?!events)/, () => undefined);
  }
  if (state === "error") stage.on("GET", /^\/(api|v1)\/(?!events(\?|$))/, { status: 500, json: { error: { message: "the disk is full" } } });
  if (state === "disconnected") stage.events = "refused";
  stage.on("POST", /^\/api\/fake\//, (request, response) => {
    setState(stage, (request.url!.split("/").at(-1) ?? "usual") as FakeState);
    response.end();
  });
  stage.drop();
}

export async function startFake(): Promise<Stage> {
  const stage = await new Stage("http://127.0.0.1:9").start();
  setState(stage, "usual");
  return stage;
}
