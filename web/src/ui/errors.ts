// How many requests failed in the last quarter of an hour: asked when one was recorded, at most once in 10 s.
import { effect, signal } from "@preact/signals";
import { api } from "../wire/api";
import { activityRevision, connections } from "../state/live";
import { throttled } from "../lib/throttle";

export const recentErrors = signal(0);
const WINDOW = 900_000;

const ask = throttled(() => {
  if (document.hidden) return;
  const query = new URLSearchParams({ limit: "500", start: new Date(Date.now() - WINDOW).toISOString() });
  api.activity(query).then(
    (page) => (recentErrors.value = page.data.filter((row) => row.resp_status_code >= 400).length),
    () => (recentErrors.value = 0),
  );
}, 10_000);

export function startErrorCount(): void {
  effect(() => {
    if (connections.value || activityRevision.value) ask();
  });
}
