// The one place that talks to the server: addresses under the mount point, errors in its own words.
import { bag, decodeActivityPage, decodeCapture, decodeDecision, decodeHardware, decodeModelList, decodePerformance, decodeProfiles, decodeStats, decodeTransition, decodeVersion, list } from "./decode";

/** Where a reverse proxy mounts the program; "" at the root. */
export const root: string =
  typeof document === "undefined"
    ? ""
    : (document.querySelector<HTMLMetaElement>('meta[name="llamaswap-root"]')?.content ?? "");

export const url = (path: string): string => root + path;

export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    /** The proxy refused, rather than the inference server behind it. */
    readonly fromProxy: boolean,
  ) {
    super(message);
  }
}

const unauthorisedListeners = new Set<() => void>();
export function onUnauthorised(listener: () => void): () => void {
  unauthorisedListeners.add(listener);
  return () => unauthorisedListeners.delete(listener);
}

export const SESSION = `lspg-${randomLetters(5)}`;

function randomLetters(count: number): string {
  const letters = "abcdefghijklmnopqrstuvwxyz0123456789";
  const values = crypto.getRandomValues(new Uint8Array(count));
  return Array.from(values, (value) => letters[value % letters.length]).join("");
}

export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (!headers.has("Accept")) headers.set("Accept", "application/json");
  let answer: Response;
  try {
    answer = await fetch(url(path), { ...init, headers });
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new ApiError("The server cannot be reached. Check that llamaswap runs, then try again.", 0, false);
  }
  if (answer.ok) return answer;
  if (answer.status === 401) for (const listener of unauthorisedListeners) listener();
  throw await errorFrom(answer);
}

/** What an answer says went wrong: the server's words first. */
export async function errorFrom(answer: Response): Promise<ApiError> {
  const body = await answer.text().catch(() => "");
  const { message, fromProxy } = wordsOf(body);
  return new ApiError(message || `HTTP ${answer.status}`, answer.status, fromProxy);
}

export function wordsOf(body: string): { message: string; fromProxy: boolean } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return { message: body.trim().slice(0, 300), fromProxy: false };
  }
  if (typeof parsed !== "object" || parsed === null) return { message: body.slice(0, 300), fromProxy: false };
  const raw = parsed as Record<string, unknown>;
  const error = raw["error"];
  const nested = typeof error === "object" && error !== null ? (error as Record<string, unknown>)["message"] : error;
  const found = [nested, raw["message"], raw["detail"]].find((item) => typeof item === "string" && item.trim());
  return { message: (found as string | undefined) ?? body.slice(0, 300), fromProxy: raw["src"] === "llama-swap" };
}

export async function json(path: string, init: RequestInit = {}): Promise<unknown> {
  return (await request(path, init)).json();
}

/** What the log of a source holds now: `proxy`, or the path of a model's id. */
export async function logSoFar(source: string, signal: AbortSignal | null = null): Promise<string> {
  return (await request(`/logs/stream/${source}?no-follow`, { signal, headers: { Accept: "text/plain" } })).text();
}

export async function postJson(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  const init: RequestInit = {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Session-ID": SESSION },
    body: JSON.stringify(body),
  };
  if (signal) init.signal = signal;
  return request(path, init);
}

/** A model's id as a path: every segment encoded, its slashes kept. */
export const idPath = (id: string): string => id.split("/").map(encodeURIComponent).join("/");

const withSignal = (signal?: AbortSignal): RequestInit => (signal ? { signal } : {});

export const api = {
  version: async () => decodeVersion(await json("/api/version")),
  build: async () => bag(await json("/ui/build.json", { cache: "no-cache" }), "build"),
  models: async () => decodeModelList(await json("/v1/models")),
  profiles: async () => decodeProfiles(await json("/api/profiles")),
  activate: (name: string | null) => request("/api/profiles/active", { method: "PUT", body: JSON.stringify({ name }) }),
  unloadAll: () => request("/api/models/unload", { method: "POST" }),
  unload: (id: string) => request(`/api/models/unload/${idPath(id)}`, { method: "POST" }),
  load: (id: string) => request(`/upstream/${idPath(id)}/?_=${Date.now().toString(36)}`, { headers: { Accept: "*/*" } }),
  async cancel(id: string): Promise<void> {
    try {
      await request(`/api/inflight/${encodeURIComponent(id)}/cancel`, { method: "POST" });
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) throw error; // finished meanwhile
    }
  },
  activity: async (query: URLSearchParams, signal?: AbortSignal) =>
    decodeActivityPage(await json(`/api/metrics/activity?${query}`, withSignal(signal))),
  stats: async (query: URLSearchParams) => decodeStats(await json(`/api/metrics/stats?${query}`)),
  capture: async (id: number | string, signal?: AbortSignal) =>
    decodeCapture(await json(`/api/captures/${id}`, withSignal(signal))),
  async performance(after = "") {
    const raw = await json(`/api/performance${after ? `?after=${encodeURIComponent(after)}` : ""}`);
    return { ...decodePerformance(raw), models: bag(raw, "performance")["models"] };
  },
  hardware: async () => decodeHardware(await json("/api/hardware")),
  config: async () => bag(await json("/api/config"), "configuration"),
  async decisions() {
    const raw = await json("/api/decisions");
    return list(Array.isArray(raw) ? raw : (bag(raw, "decisions")["decisions"] ?? bag(raw, "decisions")["data"] ?? []), "decisions").map(decodeDecision);
  },
  async history() {
    const raw = bag(await json("/api/events/history?limit=2000"), "history");
    return list(raw["events"] ?? raw["data"] ?? [], "history").map(decodeTransition);
  },
};
