// Paths under the mount point. Old hash bookmarks are rewritten once.
import { computed, signal } from "@preact/signals";
import { root } from "../wire/api";
import { prefs } from "./prefs";

export type PageName =
  | "overview" | "models" | "model" | "activity" | "capture" | "logs" | "performance" | "timeline"
  | "playground" | "hardware" | "settings" | "missing";

export interface Route {
  page: PageName;
  /** Model id, capture id or playground tab. */
  arg: string;
  query: URLSearchParams;
}

export const base = `${root}/ui/`;

const SIMPLE = new Set(["activity", "models", "logs", "performance", "timeline", "hardware", "settings"]);

export function parse(path: string, search: string): Route {
  const query = new URLSearchParams(search);
  const rest = path.startsWith(base) ? path.slice(base.length) : path.replace(/^\//, "");
  const [head = "", ...tail] = rest.replace(/\/$/, "").split("/");
  const arg = tail.map(unescaped).join("/");
  if (head === "" || head === "index.html") return { page: "overview", arg: "", query };
  if (head === "models" && arg) return { page: "model", arg, query };
  if (head === "captures" && arg) return { page: "capture", arg, query };
  if (head === "playground") return { page: "playground", arg, query };
  if (SIMPLE.has(head) && !arg) return { page: head as PageName, arg: "", query };
  return { page: "missing", arg: rest, query };
}

function unescaped(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** The path of an old bookmark's hash, or null if it is none. */
export function fromHash(hash: string): string | null {
  if (!hash.startsWith("#/")) return null;
  const [path = "", query] = hash.slice(2).split("?");
  const wanted = path === "" || path === "activity" ? "activity" : path;
  const known = parse(base + wanted, "").page !== "missing";
  return base + (known ? wanted : "activity") + (query ? `?${query}` : "");
}

export const href = (path: string): string => base + path;
export const modelHref = (id: string): string => href(`models/${id.split("/").map(encodeURIComponent).join("/")}`);

function current(): Route {
  const wanted = fromHash(location.hash);
  if (wanted !== null) history.replaceState(null, "", wanted);
  return parse(location.pathname, location.search);
}

export const route = signal<Route>(typeof location === "undefined" ? parse("/ui/", "") : current());
export const page = computed(() => route.value.page);

/** Follow a link of ours. `replace` leaves no entry behind. */
export function go(path: string, replace = false): void {
  const target = path.startsWith("/") ? path : href(path);
  if (replace) history.replaceState(null, "", target);
  else history.pushState(null, "", target);
  const before = route.value;
  route.value = parse(location.pathname, location.search);
  if (before.page !== route.value.page || before.arg !== route.value.arg) navigated.value += 1;
}

/** Counts moves to another page, so that the shell can close its sheet and move the focus. */
export const navigated = signal(0);

export function setQuery(changes: Record<string, string | null>): void {
  const query = new URLSearchParams(route.value.query);
  for (const [key, value] of Object.entries(changes)) {
    if (value === null || value === "") query.delete(key);
    else query.set(key, value);
  }
  const text = query.toString();
  go(location.pathname + (text ? `?${text}` : ""), true);
}

export function startRouter(): void {
  if (route.value.page === "overview" && prefs.value.startPage !== "overview" && location.pathname === base && history.length <= 2)
    go(prefs.value.startPage, true);
  addEventListener("popstate", () => {
    route.value = current();
    navigated.value += 1;
  });
  addEventListener("hashchange", () => {
    if (location.hash.startsWith("#/")) {
      route.value = current();
      navigated.value += 1;
    }
  });
  document.addEventListener("click", (event) => {
    const link = (event.target as Element).closest("a");
    if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    if (link.target || link.hasAttribute("download") || link.origin !== location.origin || !link.pathname.startsWith(base)) return;
    if (link.hash && link.pathname === location.pathname) return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
}
