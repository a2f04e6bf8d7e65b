// From unknown JSON to typed values, at the edge and nowhere else. A wrong value becomes a neutral
// one where that cannot mislead; a message of the wrong shape throws a DecodeError.
import type {
  Accelerator, Activity, ActivityPage, Capture, Decision, GpuStat, Hardware, Histogram, Inflight, LastError,
  ListRecord, Model, ModelState, Performance, Profiles, Stats, SysStat, Tokens, Transition, Version,
} from "./types";

export class DecodeError extends Error {}

type Bag = Record<string, unknown>;

export function bag(value: unknown, what: string): Bag {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new DecodeError(`${what} is no object`);
  return value as Bag;
}
export function list(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value)) throw new DecodeError(`${what} is no list`);
  return value;
}
const text = (value: unknown): string => (typeof value === "string" ? value : "");
const textOrNull = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);
const number = (value: unknown, otherwise = 0): number =>
  typeof value === "number" && Number.isFinite(value) ? value : otherwise;
const numberOrNull = (value: unknown): number | null =>
  typeof value === "number" && Number.isFinite(value) ? value : null;
const texts = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
const soft = (value: unknown): Bag =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Bag) : {};
const strings = (value: unknown): Record<string, string> =>
  Object.fromEntries(Object.entries(soft(value)).map(([key, item]) => [key, typeof item === "string" ? item : JSON.stringify(item)]));
const flags = (value: unknown): Record<string, boolean> =>
  Object.fromEntries(Object.entries(soft(value)).filter(([, on]) => on === true)) as Record<string, boolean>;

function id(value: unknown, what: string): string {
  if (typeof value !== "string" || value === "") throw new DecodeError(`${what} has no id`);
  return value;
}

const STATES = new Set(["stopped", "starting", "ready", "stopping", "shutdown", ""]);
const OPTIONAL_TEXT = ["since", "ttl_expires", "last_used", "group"] as const;
const OPTIONAL_NUMBER = ["ttl_s", "port", "pid", "vram_mb", "rss_mb", "load_ms_p50", "queued"] as const;

export function decodeModel(value: unknown): Model {
  const raw = bag(value, "model");
  const state = text(raw["state"]);
  const model: Model = {
    id: id(raw["id"], "model"),
    name: text(raw["name"]),
    description: text(raw["description"]),
    state: (STATES.has(state) ? state : "unknown") as ModelState,
    unlisted: raw["unlisted"] === true,
    peerID: text(raw["peerID"]),
    aliases: texts(raw["aliases"]),
    capabilities: flags(raw["capabilities"]),
    context_length: number(raw["context_length"]),
  };
  for (const key of OPTIONAL_TEXT) if (typeof raw[key] === "string" && raw[key] !== "") model[key] = raw[key];
  for (const key of OPTIONAL_NUMBER) if (typeof raw[key] === "number") model[key] = raw[key];
  if (Array.isArray(raw["sets"])) model.sets = texts(raw["sets"]);
  const failed = lastError(raw["last_error"]);
  if (failed) model.last_error = failed;
  return model;
}

function lastError(value: unknown): LastError | null {
  if (typeof value === "string" && value) return { message: value };
  const raw = soft(value);
  if (!Object.keys(raw).length) return null;
  const error: LastError = { message: text(raw["message"]) };
  if (typeof raw["at"] === "string") error.at = raw["at"];
  if (typeof raw["kind"] === "string") error.kind = raw["kind"];
  if (typeof raw["exit_code"] === "number") error.exit_code = raw["exit_code"];
  return error;
}

export const decodeModels = (value: unknown): Model[] => list(value, "modelStatus").map(decodeModel);

export function decodeListRecord(value: unknown): ListRecord {
  const raw = bag(value, "list record");
  const own = soft(soft(raw["meta"])["llamaswap"]);
  const type = text(own["type"]);
  return {
    id: id(raw["id"], "list record"),
    name: text(raw["name"]),
    description: text(raw["description"]),
    type: (["alias", "peer", "selector", "profile"].includes(type) ? type : "model") as ListRecord["type"],
    loaded: soft(raw["status"])["value"] === "loaded",
    capabilities: flags(raw["capabilities"]),
    context_length: number(raw["context_length"]),
    aliases: texts(own["aliases"]),
    modelID: text(own["modelID"]),
    peerID: text(own["peerID"]),
    strategy: text(own["strategy"]),
    targets: texts(own["targets"]),
    spillover: number(own["spillover"]),
  };
}

/** The picker's list: alias records give their id to their model and go. */
export function decodeModelList(value: unknown): ListRecord[] {
  const records = list(bag(value, "model list")["data"] ?? [], "model list").map(decodeListRecord);
  const byId = new Map(records.map((record) => [record.id, record]));
  for (const record of records) {
    if (record.type !== "alias") continue;
    const model = byId.get(record.modelID);
    if (model && !model.aliases.includes(record.id)) model.aliases.push(record.id);
  }
  return records.filter((record) => record.type !== "alias").sort(byName);
}

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
export const naturally = (a: string, b: string): number => collator.compare(a, b);
export const byName = (a: { name: string; id: string }, b: { name: string; id: string }): number =>
  collator.compare((a.name || a.id) + a.id, (b.name || b.id) + b.id) || (a.id < b.id ? -1 : 1);

export function decodeProfiles(value: unknown): Profiles {
  const raw = bag(value, "profiles");
  return {
    active: textOrNull(raw["active"]),
    profiles: list(raw["profiles"] ?? [], "profiles").map((item) => {
      const profile = bag(item, "profile");
      return { id: id(profile["id"], "profile"), description: text(profile["description"]), pins: strings(profile["pins"]) };
    }),
  };
}

function decodeTokens(value: unknown): Tokens {
  const raw = soft(value);
  return {
    cache_tokens: number(raw["cache_tokens"], -1),
    draft_tokens: number(raw["draft_tokens"], -1),
    draft_acc_tokens: number(raw["draft_acc_tokens"], -1),
    input_tokens: number(raw["input_tokens"], -1),
    output_tokens: number(raw["output_tokens"], -1),
    prompt_per_second: number(raw["prompt_per_second"], -1),
    tokens_per_second: number(raw["tokens_per_second"], -1),
  };
}

export function decodeActivity(value: unknown): Activity {
  const raw = bag(value, "activity");
  if (typeof raw["id"] !== "number") throw new DecodeError("activity has no id");
  return {
    id: raw["id"],
    timestamp: text(raw["timestamp"]),
    model: text(raw["model"]),
    req_path: text(raw["req_path"]),
    resp_content_type: text(raw["resp_content_type"]),
    resp_status_code: number(raw["resp_status_code"]),
    tokens: decodeTokens(raw["tokens"]),
    duration_ms: number(raw["duration_ms"]),
    has_capture: raw["has_capture"] === true,
    error_msg: text(raw["error_msg"]),
    metadata: strings(raw["metadata"]),
  };
}

export function decodeActivityPage(value: unknown): ActivityPage {
  const raw = bag(value, "activity page");
  return {
    data: list(raw["data"] ?? [], "activity page").map(decodeActivity),
    page: number(raw["page"], 1),
    limit: number(raw["limit"], 25),
    total: number(raw["total"]),
    total_pages: number(raw["total_pages"]),
  };
}

function decodeHistogram(value: unknown): Histogram | null {
  if (value === null || value === undefined) return null;
  const raw = bag(value, "histogram");
  const bins = list(raw["bins"] ?? [], "bins").map((count) => number(count));
  if (!bins.length) return null;
  return {
    bins,
    min: number(raw["min"]),
    max: number(raw["max"]),
    binSize: number(raw["binSize"]),
    p50: number(raw["p50"]),
    p95: number(raw["p95"]),
    p99: number(raw["p99"]),
  };
}

export function decodeStats(value: unknown): Stats {
  const raw = bag(value, "stats");
  return {
    total_requests: number(raw["total_requests"]),
    total_input_tokens: number(raw["total_input_tokens"]),
    total_output_tokens: number(raw["total_output_tokens"]),
    total_cache_tokens: number(raw["total_cache_tokens"]),
    prompt_histogram: decodeHistogram(raw["prompt_histogram"]),
    gen_histogram: decodeHistogram(raw["gen_histogram"]),
  };
}

export function decodeInflight(value: unknown, now: number): Inflight {
  const raw = bag(value, "in-flight request");
  return {
    id: id(raw["id"], "in-flight request"),
    timestamp: text(raw["timestamp"]),
    model: text(raw["model"]),
    req_path: text(raw["req_path"]),
    method: text(raw["method"]),
    req_headers: strings(raw["req_headers"]),
    remote_ip: text(raw["remote_ip"]),
    resp_headers: strings(raw["resp_headers"]),
    resp_bytes: number(raw["resp_bytes"]),
    elapsed_ms: number(raw["elapsed_ms"]),
    metadata: strings(raw["metadata"]),
    received_at: now,
  };
}

export function decodeCapture(value: unknown): Capture {
  const raw = bag(value, "capture");
  return {
    id: number(raw["id"]),
    req_path: text(raw["req_path"]),
    req_headers: raw["req_headers"] ? strings(raw["req_headers"]) : null,
    req_body: textOrNull(raw["req_body"]),
    resp_headers: raw["resp_headers"] ? strings(raw["resp_headers"]) : null,
    resp_body: textOrNull(raw["resp_body"]),
  };
}

export function decodeSys(value: unknown): SysStat {
  const raw = bag(value, "system sample");
  return {
    timestamp: text(raw["timestamp"]),
    cpu_util_per_core: Array.isArray(raw["cpu_util_per_core"]) ? raw["cpu_util_per_core"].map((core) => number(core)) : [],
    mem_total_mb: number(raw["mem_total_mb"]),
    mem_used_mb: number(raw["mem_used_mb"]),
    swap_total_mb: number(raw["swap_total_mb"]),
    swap_used_mb: number(raw["swap_used_mb"]),
    load_avg_1: number(raw["load_avg_1"]),
    load_avg_5: number(raw["load_avg_5"]),
    load_avg_15: number(raw["load_avg_15"]),
    net_io: (Array.isArray(raw["net_io"]) ? raw["net_io"] : []).map((item) => {
      const net = soft(item);
      return { name: text(net["name"]), bytes_recv: number(net["bytes_recv"]), bytes_sent: number(net["bytes_sent"]) };
    }),
  };
}

export function decodeGpu(value: unknown): GpuStat {
  const raw = bag(value, "GPU sample");
  return {
    timestamp: text(raw["timestamp"]),
    id: number(raw["id"]),
    name: text(raw["name"]),
    uuid: text(raw["uuid"]),
    temp_c: numberOrNull(raw["temp_c"]),
    vram_temp_c: numberOrNull(raw["vram_temp_c"]),
    gpu_util_pct: numberOrNull(raw["gpu_util_pct"]),
    mem_util_pct: numberOrNull(raw["mem_util_pct"]),
    mem_used_mb: numberOrNull(raw["mem_used_mb"]),
    mem_total_mb: numberOrNull(raw["mem_total_mb"]),
    fan_speed_pct: numberOrNull(raw["fan_speed_pct"]),
    power_draw_w: numberOrNull(raw["power_draw_w"]),
  };
}

export function decodePerformance(value: unknown): Performance {
  const raw = bag(value, "performance");
  return {
    sys_stats: (Array.isArray(raw["sys_stats"]) ? raw["sys_stats"] : []).map(decodeSys),
    gpu_stats: (Array.isArray(raw["gpu_stats"]) ? raw["gpu_stats"] : []).map(decodeGpu),
  };
}

function named(value: unknown): string | null {
  const raw = soft(value);
  const parts = [textOrNull(raw["name"]), textOrNull(raw["version"])].filter(Boolean);
  return parts.length ? parts.join(" ") : null;
}

export function decodeHardware(value: unknown): Hardware {
  const raw = bag(value, "hardware");
  const os = soft(raw["operating_system"]);
  const cpu = soft(raw["cpu"]);
  const environment = soft(raw["environment"]);
  return {
    captured_at: text(raw["captured_at"]),
    architecture: textOrNull(soft(raw["architecture"])["name"]),
    os: named(os) ?? textOrNull(os["family"]),
    kernel: textOrNull(os["kernel"]),
    environment: named(environment) ?? textOrNull(environment["kind"]),
    cpu: {
      vendor: textOrNull(cpu["vendor"]),
      model: textOrNull(cpu["model"]),
      sockets: numberOrNull(cpu["socket_count"]),
      cores: numberOrNull(cpu["physical_core_count"]),
      threads: numberOrNull(cpu["logical_thread_count"]),
    },
    memoryBytes: numberOrNull(soft(raw["memory"])["capacity_bytes"]),
    accelerators: (Array.isArray(raw["accelerators"]) ? raw["accelerators"] : []).map(decodeAccelerator),
  };
}

function decodeAccelerator(value: unknown): Accelerator {
  const raw = bag(value, "accelerator");
  const memory = soft(raw["memory"]);
  return {
    kind: text(raw["kind"]) || "other",
    vendor: textOrNull(raw["vendor"]),
    model: textOrNull(raw["model"]),
    architecture: textOrNull(raw["architecture"]),
    memoryKind: text(memory["kind"]) || "unknown",
    memoryBytes: numberOrNull(memory["capacity_bytes"]),
    driver: named(raw["driver"]),
    power_limit_watts: numberOrNull(raw["power_limit_watts"]),
  };
}

export function decodeVersion(value: unknown): Version {
  const raw = bag(value, "version");
  return { version: text(raw["version"]), commit: text(raw["commit"]), build_date: text(raw["build_date"]) };
}

/** A time as the server writes it, or seconds since 1970, as RFC 3339. */
export function instant(value: unknown): string {
  if (typeof value === "number") return new Date(value * 1000).toISOString();
  return text(value);
}

export function decodeDecision(value: unknown): Decision {
  const raw = bag(value, "decision");
  const waiters = raw["waiters"];
  return {
    time: instant(raw["time"]),
    kind: text(raw["kind"]),
    model: text(raw["model"]),
    evicted: texts(raw["evicted"]),
    reason: text(raw["reason"]),
    waiters: Array.isArray(waiters) ? waiters.length : number(waiters),
    oldest_wait: number(raw["oldest_wait"]),
    estimate: number(raw["estimate"]),
  };
}

export function decodeTransition(value: unknown): Transition {
  const raw = bag(value, "transition");
  const transition: Transition = { at: instant(raw["at"]), model: id(raw["model"], "transition"), state: text(raw["state"]) };
  if (typeof raw["reason"] === "string" && raw["reason"]) transition.reason = raw["reason"];
  return transition;
}
