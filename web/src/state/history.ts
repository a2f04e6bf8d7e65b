// What happened to models before this page was opened, as far as the server remembers, joined with
// what this page has seen since.
import { computed, effect, signal } from "@preact/signals";
import { api } from "../wire/api";
import type { Transition } from "../wire/types";
import { addDecisions, connections, seen } from "./live";

const told = signal<Transition[]>([]);
/** Whether the server keeps a history; without one the feed begins with the page. */
export const hasHistory = signal(false);

export function startHistory(): void {
  effect(() => {
    if (!connections.value) return;
    api.history().then(
      (got) => {
        told.value = got;
        hasHistory.value = true;
      },
      () => undefined, // an older server: the feed begins with the page
    );
    api.decisions().then(addDecisions, () => undefined);
  });
}

export interface Change {
  at: number;
  model: string;
  to: string;
  note: string;
}

/** Every state change known, oldest first. */
export const changes = computed<Change[]>(() => {
  const all: Change[] = told.value.map((item) => ({ at: Date.parse(item.at), model: item.model, to: item.state, note: item.reason ?? "" }));
  const known = new Map<string, number[]>();
  for (const item of all) {
    const key = `${item.model}/${item.to}`;
    const times = known.get(key);
    if (times) times.push(item.at);
    else known.set(key, [item.at]);
  }
  for (const item of seen.value) {
    const times = known.get(`${item.model}/${item.to}`) ?? [];
    if (times.some((at) => Math.abs(at - item.at) < 400)) continue;
    all.push({ at: item.at, model: item.model, to: item.to, note: item.note ?? "" });
  }
  return all.filter((item) => !Number.isNaN(item.at)).sort((a, b) => a.at - b.at);
});
