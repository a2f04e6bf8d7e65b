// What this browser remembers: one key, checked field by field, shared between tabs.
// The keys of the reference program are read once as an import and never written.
import { signal } from "@preact/signals";
import { storedWidths, type Widths } from "../lib/widths";

export interface ColumnSet {
  hidden: string[];
  order: string[];
}

export interface Prefs {
  theme: "system" | "light" | "dark";
  contrast: boolean;
  accent: "blue" | "teal" | "violet" | "amber" | "rose";
  density: "comfortable" | "compact";
  startPage: string;
  title: string;
  numbers: "locale" | "plain";
  navOpen: boolean;
  keys: boolean;
  countInTitle: boolean;
  capabilityTags: boolean;
  unlisted: boolean;
  pinned: string[];
  modelSort: "name" | "state" | "used" | "most";
  modelGroup: "none" | "group" | "capability";
  foldedGroups: string[];
  activitySize: number;
  activityColumns: ColumnSet;
  modelColumns: ColumnSet;
  inflightColumns: ColumnSet;
  /** Of the list of models. */
  listColumns: ColumnSet;
  /** By the name of the table. */
  columnWidths: Record<string, Widths>;
  histogramsOpen: boolean;
  inflightOpen: boolean;
  filtersOpen: boolean;
  logView: "panels" | "proxy" | "upstream";
  logSplit: number;
  logFont: number;
  logWrap: boolean;
  logTimes: boolean;
  perfRange: "5m" | "15m" | "1h";
  timelineRange: "5m" | "15m" | "1h" | "6h";
  chatModel: string;
  chatEndpoint: "completions" | "messages" | "responses";
  chatSystem: string;
  chatTemperature: number;
  chatMaxTokens: number;
  chatExtra: string;
  chatTopP: string;
  chatTopK: string;
  chatMinP: string;
  chatSeed: string;
  chatStop: string;
  imageModel: string;
  imageSize: string;
  imageMode: "openai" | "sdapi";
  imageNegative: string;
  imageSteps: number;
  imageCfg: number;
  imageSeed: number;
  imageBatch: number;
  imageSampler: string;
  imageScheduler: string;
  speechModel: string;
  speechVoice: string;
  speechAutoplay: boolean;
  transcriptionModel: string;
  rerankModel: string;
  embeddingsModel: string;
  loadPrompt: string;
  loadMaxTokens: number;
  loadList: string[];
  loadTimelineOpen: boolean;
  playgroundTab: string;
}

const columns = (hidden: string[] = []): ColumnSet => ({ hidden, order: [] });

export const DEFAULTS: Prefs = {
  theme: "system",
  contrast: false,
  accent: "blue",
  density: "comfortable",
  startPage: "overview",
  title: "",
  numbers: "locale",
  navOpen: true,
  keys: true,
  countInTitle: false,
  capabilityTags: false,
  unlisted: false,
  pinned: [],
  modelSort: "name",
  modelGroup: "none",
  foldedGroups: [],
  activitySize: 25,
  activityColumns: columns(["req_path", "resp_content_type", "drafted", "meta"]),
  modelColumns: columns(["req_path", "resp_content_type", "drafted", "meta", "model"]),
  inflightColumns: columns(["user_agent", "session_id"]),
  listColumns: columns(),
  columnWidths: {},
  histogramsOpen: true,
  inflightOpen: true,
  filtersOpen: false,
  logView: "panels",
  logSplit: 50,
  logFont: 0.8125,
  logWrap: false,
  logTimes: true,
  perfRange: "5m",
  timelineRange: "15m",
  chatModel: "",
  chatEndpoint: "completions",
  chatSystem: "",
  chatTemperature: 0.7,
  chatMaxTokens: 4096,
  chatExtra: "",
  chatTopP: "",
  chatTopK: "",
  chatMinP: "",
  chatSeed: "",
  chatStop: "",
  imageModel: "",
  imageSize: "1024x1024",
  imageMode: "openai",
  imageNegative: "",
  imageSteps: 20,
  imageCfg: 7,
  imageSeed: -1,
  imageBatch: 1,
  imageSampler: "",
  imageScheduler: "",
  speechModel: "",
  speechVoice: "coral",
  speechAutoplay: false,
  transcriptionModel: "",
  rerankModel: "",
  embeddingsModel: "",
  loadPrompt: "Write a short story about a lighthouse.",
  loadMaxTokens: 256,
  loadList: [],
  loadTimelineOpen: true,
  playgroundTab: "chat",
};

const CHOICES: Partial<Record<keyof Prefs, readonly unknown[]>> = {
  theme: ["system", "light", "dark"],
  accent: ["blue", "teal", "violet", "amber", "rose"],
  density: ["comfortable", "compact"],
  numbers: ["locale", "plain"],
  modelSort: ["name", "state", "used", "most"],
  modelGroup: ["none", "group", "capability"],
  activitySize: [10, 25, 50, 100, 250, 500],
  logView: ["panels", "proxy", "upstream"],
  perfRange: ["5m", "15m", "1h"],
  timelineRange: ["5m", "15m", "1h", "6h"],
  chatEndpoint: ["completions", "messages", "responses"],
  imageMode: ["openai", "sdapi"],
};

function sameShape(value: unknown, model: unknown): boolean {
  if (Array.isArray(model)) return Array.isArray(value) && value.every((item) => typeof item === "string");
  if (typeof model === "object" && model !== null)
    return (
      typeof value === "object" && value !== null && !Array.isArray(value) &&
      Object.entries(model).every(([key, item]) => sameShape((value as Record<string, unknown>)[key], item))
    );
  if (typeof model === "number") return typeof value === "number" && Number.isFinite(value);
  return typeof value === typeof model;
}

/** The known, well-formed ones of `raw` over the defaults; anything else is dropped. */
export function validated(raw: unknown): Prefs {
  const prefs: Record<string, unknown> = structuredClone(DEFAULTS) as unknown as Record<string, unknown>;
  if (typeof raw !== "object" || raw === null) return prefs as unknown as Prefs;
  for (const [key, model] of Object.entries(DEFAULTS)) {
    const value = (raw as Record<string, unknown>)[key];
    const choices = CHOICES[key as keyof Prefs];
    if (value !== undefined && sameShape(value, model) && (!choices || choices.includes(value))) prefs[key] = value;
  }
  prefs["columnWidths"] = storedWidths(prefs["columnWidths"]);
  return prefs as unknown as Prefs;
}

const KEY = "llamaswap.ui";

interface Store {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

function storage(): Store | null {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    return null;
  }
}

function stored(store: Store | null, key: string): unknown {
  try {
    const text = store?.getItem(key) ?? null;
    return text === null ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What the reference program left here, under our names. */
export function imported(read: (key: string) => unknown): Record<string, unknown> {
  const columnSet = (prefix: string, fallback: ColumnSet): ColumnSet | undefined => {
    const visible = read(`${prefix}columns`);
    const order = read(`${prefix}column-order`);
    if (visible === undefined && order === undefined) return undefined;
    const shown = Array.isArray(visible) ? visible : null;
    const flags = typeof visible === "object" && visible !== null && !Array.isArray(visible) ? (visible as Record<string, unknown>) : null;
    const hidden = flags
      ? Object.keys(flags).filter((key) => flags[key] === false)
      : shown
        ? ACTIVITY_COLUMNS.filter((id) => !shown.includes(id))
        : fallback.hidden;
    return { hidden, order: Array.isArray(order) ? order.filter((id) => typeof id === "string") : [] };
  };
  const oldTheme = read("theme");
  const theme = read("theme-mode") ?? (oldTheme === undefined ? undefined : oldTheme === true ? "dark" : "light");
  const perf = read("perf-window");
  const endpoint = read("playground-endpoint");
  const title = read("app-title");
  return {
    theme,
    title: title === "llama-swap" || title === "(set title)" ? undefined : title,
    unlisted: read("models-dash-show-unlisted"),
    capabilityTags: read("models-dash-show-capability-tags"),
    activitySize: read("activity-page-size"),
    activityColumns: columnSet("activity-", DEFAULTS.activityColumns),
    modelColumns: columnSet("model-detail-activity-", DEFAULTS.modelColumns),
    inflightColumns: columnSet("activity-inflight-", DEFAULTS.inflightColumns),
    histogramsOpen: read("activity-histogram-collapsed") === true ? false : undefined,
    inflightOpen: read("activity-inflight-open"),
    logView: read("logviewer-view-mode"),
    logSplit: read("panel-size-logviewer-panel-group"),
    perfRange: typeof perf === "number" ? ["5m", "15m", "1h"][perf] : undefined,
    playgroundTab: read("playground-selected-tab"),
    chatModel: read("playground-selected-model"),
    chatSystem: read("playground-system-prompt"),
    chatTemperature: read("playground-temperature"),
    chatEndpoint: typeof endpoint === "string" ? (endpoint.includes("messages") ? "messages" : endpoint.includes("responses") ? "responses" : "completions") : undefined,
    chatMaxTokens: read("playground-max-tokens"),
    imageModel: read("playground-image-model"),
    imageSize: read("playground-image-size"),
    imageMode: read("playground-image-api-mode"),
    imageNegative: read("playground-sdapi-negative-prompt"),
    imageSteps: read("playground-sdapi-steps"),
    imageCfg: read("playground-sdapi-cfg-scale"),
    imageSeed: read("playground-sdapi-seed"),
    imageBatch: read("playground-sdapi-batch-size"),
    imageSampler: read("playground-sdapi-sampler"),
    imageScheduler: read("playground-sdapi-scheduler"),
    speechModel: read("playground-speech-model"),
    speechVoice: read("playground-speech-voice"),
    speechAutoplay: read("playground-speech-autoplay"),
    transcriptionModel: read("playground-audio-model"),
    rerankModel: read("playground-rerank-model"),
    loadPrompt: read("concurrency-prompt"),
    loadMaxTokens: read("concurrency-max-tokens"),
    loadTimelineOpen: read("concurrency-timeline-collapsed") === true ? false : undefined,
    filtersOpen: read("activity-filter-open"),
  };
}

export const ACTIVITY_COLUMNS = [
  "id", "time", "model", "req_path", "resp_status_code", "resp_content_type", "cached", "prompt", "generated",
  "drafted", "prompt_speed", "gen_speed", "duration", "capture", "meta", "error",
];

function load(): Prefs {
  const store = storage();
  const own = stored(store, KEY) as { prefs?: unknown } | undefined;
  if (own?.prefs) return validated(own.prefs);
  return validated(imported((key) => stored(store, key)));
}

export const prefs = signal<Prefs>(load());

let timer: ReturnType<typeof setTimeout> | undefined;
let unsaved = false;

function save(): void {
  unsaved = false;
  try {
    storage()?.setItem(KEY, JSON.stringify({ v: 1, prefs: prefs.value }));
  } catch {
    // private mode or a full store: this session remembers, the next does not
  }
}

export function setPref<K extends keyof Prefs>(key: K, value: Prefs[K]): void {
  prefs.value = { ...prefs.value, [key]: value };
  unsaved = true;
  clearTimeout(timer);
  timer = setTimeout(save, 250);
}

export function replacePrefs(raw: unknown): void {
  prefs.value = validated(raw);
  save();
}

if (typeof window !== "undefined") {
  window.addEventListener("storage", (event) => {
    if (event.key !== KEY) return;
    const own = stored(storage(), KEY) as { prefs?: unknown } | undefined;
    prefs.value = validated(own?.prefs);
  });
  window.addEventListener("pagehide", () => {
    if (unsaved) save();
  });
}
