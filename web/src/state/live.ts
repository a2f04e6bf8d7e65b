// The live picture of the server: what the event stream told, as signals. Messages are collected
// and applied once per frame.
import { batch, computed, signal } from "@preact/signals";
import type { Connection, FromHub, ToHub } from "../worker/hub";
import { byName, decodeDecision, decodeGpu, decodeInflight, decodeModel, decodeSys, bag, list, DecodeError } from "../wire/decode";
import type { Decision, EventMessage, GpuStat, Inflight, Model, SysStat } from "../wire/types";
import { LogRing } from "../lib/logring";
import { banner, diagnostics } from "./notices";

export const connection = signal<Connection>("connecting");
export const connectionSince = signal(Date.now());
export const retryAt = signal(0);
/** When the last message came, for "as of hh:mm:ss". */
export const freshAt = signal(0);

export const models = signal<Model[] | null>(null);
export const inflight = signal<Inflight[]>([]);
export const sessionHeaders = signal<string[]>(["X-Session-ID", "X-Litellm-Session-Id"]);
export const activeProfile = signal<string | null | undefined>(undefined);
export const activityRevision = signal(0);
export const modelsRevision = signal(0);
export const profileRevision = signal(0);
export const configRevision = signal(0);
export const connections = signal(0);
export const decisions = signal<Decision[]>([]);
export const perf = signal<{ sys: SysStat[]; gpu: GpuStat[] }>({ sys: [], gpu: [] });
/** Whether the server sends samples as events, so that nobody needs to ask for them. */
export const perfIsLive = signal(false);

export const online = computed(() => connection.value === "connected");
export const localModels = computed(() => (models.value ?? []).filter((model) => !model.peerID));
export const peerModels = computed(() => (models.value ?? []).filter((model) => model.peerID));

export const inflightByModel = computed(() => {
  const counts = new Map<string, number>();
  for (const request of inflight.value) counts.set(request.model, (counts.get(request.model) ?? 0) + 1);
  return counts;
});

/** Requests in flight that no answer has begun for, by model. */
const unanswered = computed(() => {
  const counts = new Map<string, number>();
  for (const request of inflight.value) if (!Object.keys(request.resp_headers).length) counts.set(request.model, (counts.get(request.model) ?? 0) + 1);
  return counts;
});

/** Requests that wait for a model: what the server said last, of those that are still unanswered. */
export function queuedOf(model: Model): number {
  const most = unanswered.value.get(model.id) ?? 0;
  return model.state === "ready" ? Math.min(model.queued ?? 0, most) : most;
}

export const queued = computed(() => localModels.value.reduce((total, model) => total + queuedOf(model), 0));

export function findModel(name: string): Model | undefined {
  const all = models.value ?? [];
  return all.find((model) => model.id === name) ?? all.find((model) => model.aliases.includes(name));
}

// --- lifecycle seen by this tab, for the timeline and the feed ---------------------------------

export interface Seen {
  at: number;
  model: string;
  from: string;
  to: string;
  note?: string;
}
export const seen = signal<Seen[]>([]);
const SEEN_LIMIT = 2_000;

function noteTransitions(before: Model[] | null, after: Model[]): void {
  if (!before) return;
  const old = new Map(before.map((model) => [model.id, model.state]));
  const fresh: Seen[] = [];
  for (const model of after) {
    const from = old.get(model.id);
    if (from === undefined || from === model.state || model.peerID) continue;
    const failed = from === "starting" && model.state === "stopped" && model.last_error;
    const entry: Seen = { at: model.since ? Date.parse(model.since) || Date.now() : Date.now(), model: model.id, from, to: model.state };
    if (failed) entry.note = model.last_error!.message;
    fresh.push(entry);
  }
  if (fresh.length) seen.value = [...seen.value, ...fresh].slice(-SEEN_LIMIT);
}

// --- logs: no signals, a revision for those who look ----------------------------------------------

export const logs: Record<"proxy" | "upstream", LogRing> = { proxy: new LogRing(), upstream: new LogRing() };
export const logRevision = signal(0);
/** Whether the stream was lost since each log was last joined: a new view of the page is no rule in it. */
const logLost = { proxy: false, upstream: false };

// --- reducers -------------------------------------------------------------------------------------

const PERF_SPAN = 3_600_000;
let rawModels = new Map<string, { text: string; model: Model }>();

function takeModels(value: unknown): void {
  const next = new Map<string, { text: string; model: Model }>();
  const taken: Model[] = [];
  for (const item of list(value, "modelStatus")) {
    const text = JSON.stringify(item);
    const id = String((item as { id?: unknown }).id);
    const old = rawModels.get(id);
    // the same object for what did not change, so that its row is not drawn again
    const model = old?.text === text ? old.model : decodeModel(item);
    next.set(id, { text, model });
    taken.push(model);
  }
  rawModels = next;
  taken.sort(byName);
  noteTransitions(models.value, taken);
  models.value = taken;
  modelsRevision.value += 1;
}

let requests = new Map<string, Inflight>();
/** When this page saw a model's last request end: fresher than what its last change of state told. */
export const lastUsed = signal<ReadonlyMap<string, number>>(new Map());
const inOrder = (a: Inflight, b: Inflight): number =>
  a.timestamp < b.timestamp ? -1 : a.timestamp > b.timestamp ? 1 : Number(a.id) - Number(b.id);

function takeInflight(value: unknown): void {
  const change = bag(value, "inflight");
  const now = performance.now();
  if (change["operation"] === "snapshot") {
    const all = Array.isArray(change["requests"]) ? change["requests"] : [];
    requests = new Map(all.map((item) => decodeInflight(item, now)).map((item) => [item.id, item]));
  } else if (change["operation"] === "upsert") {
    if (!change["request"]) throw new DecodeError("upsert without request");
    const request = decodeInflight(change["request"], now);
    requests.set(request.id, request);
  } else if (change["operation"] === "remove") {
    if (typeof change["id"] !== "string") throw new DecodeError("remove without id");
    const gone = requests.get(change["id"]);
    if (gone) lastUsed.value = new Map([...lastUsed.peek(), [gone.model, Date.now()]]);
    requests.delete(change["id"]);
  } else throw new DecodeError("unknown operation");
}

/** What each model's processes take, as last measured; `null`: not known, and why. */
export interface ModelMemory {
  rss_mb: number;
  vram_mb: number | null;
  reason: string;
}
export const modelMemory = signal<ReadonlyMap<string, ModelMemory>>(new Map());

export function takeMemory(list_: unknown): void {
  if (!Array.isArray(list_) || !list_.length) return;
  const next = new Map(modelMemory.peek());
  for (const item of list_ as Record<string, unknown>[]) {
    const vram = item["vram_mb"];
    next.set(String(item["model"]), {
      rss_mb: typeof item["rss_mb"] === "number" ? item["rss_mb"] : 0,
      vram_mb: typeof vram === "number" ? vram : null,
      reason: typeof item["vram_reason"] === "string" ? item["vram_reason"] : "",
    });
  }
  modelMemory.value = next;
}

function takePerf(value: unknown): void {
  const raw = bag(value, "perf");
  takeMemory(raw["models"]);
  const sys = raw["sys"] ? [decodeSys(raw["sys"])] : [];
  const gpu = (Array.isArray(raw["gpu"]) ? raw["gpu"] : []).map(decodeGpu);
  addPerf(sys, gpu);
  perfIsLive.value = true;
}

export function addPerf(sys: SysStat[], gpu: GpuStat[]): void {
  const newest = sys.at(-1)?.timestamp ?? gpu.at(-1)?.timestamp;
  const limit = (newest ? Date.parse(newest) : Date.now()) - PERF_SPAN;
  const merge = <T extends { timestamp: string; id?: number }>(old: T[], fresh: T[]): T[] => {
    if (!fresh.length) return old;
    const known = new Set(old.slice(-2000).map((item) => `${item.timestamp}/${item.id ?? ""}`));
    const added = fresh.filter((item) => !known.has(`${item.timestamp}/${item.id ?? ""}`));
    if (!added.length) return old;
    const all = [...old, ...added];
    if (old.length && Date.parse(added[0]!.timestamp) < Date.parse(old.at(-1)!.timestamp))
      all.sort((a, b) => Date.parse(a.timestamp) - Date.parse(b.timestamp));
    let from = 0;
    while (from < all.length && Date.parse(all[from]!.timestamp) < limit) from += 1;
    return from ? all.slice(from) : all;
  };
  perf.value = { sys: merge(perf.value.sys, sys), gpu: merge(perf.value.gpu, gpu) };
}

function takeDecision(value: unknown): void {
  const decision = decodeDecision(value);
  addDecisions([decision]);
}

export function addDecisions(fresh: Decision[]): void {
  const key = (d: Decision) => `${d.time}/${d.model}/${d.reason}`;
  const known = new Set(decisions.value.map(key));
  const added = fresh.filter((d) => !known.has(key(d)));
  if (added.length)
    decisions.value = [...decisions.value, ...added].sort((a, b) => (a.time < b.time ? -1 : 1)).slice(-1000);
}

function takeLog(value: unknown, reset: boolean): void {
  const raw = bag(value, "logData");
  const source = raw["source"];
  if (source !== "proxy" && source !== "upstream") return; // sources may be added
  if (typeof raw["data"] !== "string") throw new DecodeError("log data is no text");
  if (reset) {
    logs[source].join(raw["data"], logLost[source] ? "reconnected" : "");
    logLost[source] = false;
  } else logs[source].append(raw["data"]);
  logRevision.value += 1;
}

function takeReload(value: unknown): void {
  const raw = bag(value, "configReloaded");
  configRevision.value += 1;
  const error = typeof raw["error"] === "string" ? raw["error"] : "";
  if (raw["ok"] === false || error)
    banner.value = { tone: "bad", text: `Reload failed: ${error || "see the proxy log"}`, detail: "The running configuration stays in force." };
  else banner.value = { tone: "ok", text: "Configuration reloaded", detail: "" };
  seen.value = [...seen.value, { at: Date.now(), model: "", from: "", to: error ? "reload failed" : "reloaded", ...(error ? { note: error } : {}) }];
}

function apply(event: EventMessage, reset: boolean): void {
  const value: unknown = event.type === "malformed" ? undefined : JSON.parse(event.data);
  switch (event.type) {
    case "malformed":
      throw new DecodeError("a frame that is no message");
    case "modelStatus":
      return takeModels(value);
    case "inflight":
      return takeInflight(value);
    case "activity":
      activityRevision.value += 1;
      return;
    case "uiConfig": {
      const headers = bag(bag(value, "uiConfig")["activity"], "uiConfig.activity")["session_id"];
      sessionHeaders.value = list(headers, "session_id").filter((name): name is string => typeof name === "string");
      return;
    }
    case "profileChanged": {
      const active = bag(value, "profile")["active"];
      activeProfile.value = typeof active === "string" && active ? active : null;
      profileRevision.value += 1;
      return;
    }
    case "perf":
      return takePerf(value);
    case "decision":
      return takeDecision(value);
    case "logData":
      return takeLog(value, reset);
    case "configReloaded":
      return takeReload(value);
    default:
      diagnostics.value = { ...diagnostics.value, unknown: diagnostics.value.unknown + 1 };
  }
}

const queue: { event: EventMessage; reset: boolean }[] = [];
let drawing = false;

function drain(): void {
  if (!drawing) return;
  drawing = false;
  const work = queue.splice(0);
  batch(() => {
    let touchedInflight = false;
    for (const { event, reset } of work) {
      if (event.type === "inflight") touchedInflight = true;
      try {
        apply(event, reset);
      } catch {
        diagnostics.value = { ...diagnostics.value, bad: diagnostics.value.bad + 1 };
      }
    }
    if (touchedInflight) inflight.value = [...requests.values()].sort(inOrder);
    freshAt.value = Date.now();
  });
}

function schedule(): void {
  if (drawing) return;
  drawing = true;
  // frames do not come in a tab that is covered
  setTimeout(drain, 250);
  if (!document.hidden) requestAnimationFrame(drain);
}

export function receive(message: FromHub): void {
  if (message.kind === "status") {
    const before = connection.value;
    batch(() => {
      connection.value = message.status;
      connectionSince.value = message.since;
      retryAt.value = message.retryAt;
      if (message.status === "connected" && before !== "connected") connections.value += 1;
      if (message.status === "disconnected") logLost.proxy = logLost.upstream = true;
    });
    return;
  }
  for (const event of message.events) queue.push({ event, reset: message.reset });
  schedule();
}

// --- what this tab asks of the hub ----------------------------------------------------------------

let send: (message: ToHub) => void = () => undefined;
const wanted = new Map<string, number>();

export function connectTo(sender: (message: ToHub) => void): void {
  send = sender;
  sendTopics();
}

function sendTopics(): void {
  send({ kind: "topics", topics: [...wanted.keys()] });
}

/** Ask for a topic while a page needs it; call the result when it no longer does. */
export function want(topic: string): () => void {
  wanted.set(topic, (wanted.get(topic) ?? 0) + 1);
  if (wanted.get(topic) === 1) sendTopics();
  return () => {
    const left = (wanted.get(topic) ?? 1) - 1;
    if (left > 0) wanted.set(topic, left);
    else {
      wanted.delete(topic);
      sendTopics();
    }
  };
}

export const retryNow = (): void => send({ kind: "retry" });
