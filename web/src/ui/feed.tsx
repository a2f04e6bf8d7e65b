// The last lifecycle events: loads with their time, unloads, failures, reloads.
import { computed } from "@preact/signals";
import { changes, hasHistory } from "../state/history";
import { modelHref } from "../state/router";
import { absolute, relative, span } from "../lib/format";
import { Card, Empty, State } from "./basics";
import { slowTick } from "./ticker";

interface Entry {
  at: number;
  model: string;
  tone: "ok" | "bad" | "idle" | "info";
  mark: string;
  text: string;
  note: string;
}

const REASONS: Record<string, string> = { evict: "made room for another model", ttl: "was idle for its ttl", unload: "on request", removed: "left the configuration", shutdown: "the program ended", abort: "its start was given up" };

const entries = computed<Entry[]>(() => {
  const found: Entry[] = [];
  const began = new Map<string, number>();
  const state = new Map<string, string>();
  for (const { at, model, to, note } of changes.value) {
    const before = state.get(model);
    state.set(model, to);
    if (to === "starting") began.set(model, at);
    else if (to === "ready") {
      const from = began.get(model);
      found.push({ at, model, tone: "ok", mark: "disc", text: from ? `loaded in ${span((at - from) / 1000)}` : "loaded", note: "" });
    } else if (to === "stopped") {
      if (REASONS[note] && before !== "ready") found.push({ at, model, tone: "idle", mark: "ring", text: "unloaded", note: REASONS[note]! });
      else if (before === "starting") found.push({ at, model, tone: "bad", mark: "triangle", text: "did not start", note });
      else if (before === "ready") found.push({ at, model, tone: "bad", mark: "triangle", text: "ended by itself", note });
      else found.push({ at, model, tone: "idle", mark: "ring", text: "unloaded", note: REASONS[note] ?? note });
    } else if (to === "reloaded") found.push({ at, model, tone: "info", mark: "diamond", text: "configuration reloaded", note: "" });
    else if (to === "reload failed") found.push({ at, model, tone: "bad", mark: "triangle", text: "configuration reload failed", note });
  }
  return found.reverse().slice(0, 20);
});

export function Feed() {
  void slowTick.value;
  return (
    <Card title="Events">
      {entries.value.length === 0 ? <Empty>{hasHistory.value ? "Nothing has been loaded yet" : "No events since this page was opened"}</Empty> : (
        <ul class="feed">
          {entries.value.map((entry) => (
            <li key={`${entry.at}${entry.model}${entry.text}`}>
              <State tone={entry.tone} mark={entry.mark}><span class="visually-hidden">{entry.tone === "bad" ? "Failure" : "Event"}</span></State>
              <span class="cut">{entry.model && <a href={modelHref(entry.model)}>{entry.model}</a>} {entry.text}{entry.note && <span class="muted" title={entry.note}> · {entry.note}</span>}</span>
              <time class="muted small push" title={absolute(entry.at)}>{relative(new Date(entry.at).toISOString())}</time>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
