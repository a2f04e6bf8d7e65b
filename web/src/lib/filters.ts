// The filters of Activity, as they stand in the address of the page, and as the server wants them.

export interface Filters {
  models: string[];
  minId: string;
  maxId: string;
  range: string;
  start: string;
  end: string;
  status: string;
  path: string;
  capture: boolean;
  text: string;
  page: number;
  sort: string;
  order: "asc" | "desc";
}

export const RANGES: Record<string, number> = { "15m": 900_000, "1h": 3_600_000, "24h": 86_400_000, "7d": 604_800_000 };

export const SORTS = new Set(["id", "time", "model", "req_path", "resp_status_code", "resp_content_type", "cached", "prompt", "generated", "drafted", "prompt_speed", "gen_speed", "duration"]);

/** A positive whole number, or nothing. */
export const validId = (text: string): boolean => text === "" || (/^\d+$/.test(text) && Number(text) >= 1);

export function readFilters(query: URLSearchParams): Filters {
  const sort = query.get("sort") ?? "id";
  return {
    models: query.getAll("model").filter(Boolean),
    minId: query.get("min_id") ?? "",
    maxId: query.get("max_id") ?? "",
    range: query.get("range") ?? "",
    start: query.get("start") ?? "",
    end: query.get("end") ?? "",
    status: query.get("status") ?? "",
    path: query.get("path") ?? "",
    capture: query.get("has_capture") === "1",
    text: query.get("q") ?? "",
    page: Math.max(1, Math.floor(Number(query.get("page")) || 1)),
    sort: SORTS.has(sort) ? sort : "id",
    order: query.get("order") === "asc" ? "asc" : "desc",
  };
}

export const isFiltered = (f: Filters): boolean =>
  Boolean(f.models.length || f.minId || f.maxId || f.range || f.start || f.end || f.status || f.path || f.capture || f.text);

const STATUS: Record<string, string> = { ok: "2xx", client: "4xx", server: "5xx" };

/** What the server is asked; wrong values are left out. */
export function serverQuery(f: Filters, limit: number, model: string | null, now: number): URLSearchParams {
  const query = new URLSearchParams({ page: String(f.page), limit: String(limit), sort: f.sort, order: f.order });
  for (const name of model ? [model] : f.models) query.append("model", name);
  if (f.minId && validId(f.minId)) query.set("min_id", f.minId);
  if (f.maxId && validId(f.maxId) && !(f.minId && validId(f.minId) && Number(f.maxId) < Number(f.minId))) query.set("max_id", f.maxId);
  const from = f.range ? now - (RANGES[f.range] ?? 0) : Date.parse(f.start);
  const to = f.range ? NaN : Date.parse(f.end);
  if (!Number.isNaN(from)) query.set("start", new Date(from).toISOString());
  if (!Number.isNaN(to) && !(from > to)) query.set("end", new Date(to).toISOString());
  if (STATUS[f.status]) query.set("status", STATUS[f.status]!);
  if (f.path) query.set("path", f.path);
  if (f.capture) query.set("has_capture", "1");
  if (f.text) query.set("q", f.text);
  return query;
}
