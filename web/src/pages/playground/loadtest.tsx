// Many requests, a few at a time: a browser has six connections, and the rest of the page needs some.
import { signal, useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { streamChat, type Moments } from "../../wire/chat";
import type { Reply } from "../../wire/completion";
import { explained } from "../../state/actions";
import { setBusy } from "../../state/playground";
import { prefs, setPref } from "../../state/prefs";
import { plural, short } from "../../lib/format";
import { saveText } from "../../lib/save";
import { Button, Card, Empty, Field } from "../../ui/basics";
import { NoModels, Picker, whyNot } from "./picker";

export interface Run {
  id: number;
  model: string;
  state: "queued" | "running" | "done" | "failed" | "stopped";
  began: number;
  moments: Moments | null;
  chars: number;
  loaded: number | null;
  tokens: number;
  rate: number;
  error: string;
}

const CEILING = 4;
/** Requests of one test. */
const MOST = 200;
const runs = signal<Run[]>([]);
const running = signal(false);
const started = signal(0);
const now = signal(0);
const concurrency = signal(CEILING);
let stopper: AbortController | null = null;

/** Over HTTP/2 connections are no limit. */
function ceiling(): number {
  const entry = performance.getEntriesByType("navigation")[0] as PerformanceNavigationTiming | undefined;
  return entry?.nextHopProtocol === "h2" || entry?.nextHopProtocol === "h3" ? 64 : CEILING;
}

function update(id: number, change: Partial<Run>): void {
  runs.value = runs.value.map((run) => (run.id === id ? { ...run, ...change } : run));
}

async function one(run: Run, stop: AbortSignal): Promise<void> {
  update(run.id, { state: "running" });
  let drawn = 0;
  const onChange = (reply: Reply, moments: Moments) => {
    const at = performance.now();
    if (at - drawn < 100 && !moments.ended) return;
    drawn = at;
    const first = moments.reasoning ?? moments.content;
    const tokens = reply.figures.generated ?? 0;
    update(run.id, { moments: { ...moments }, chars: reply.text.length + reply.reasoning.length, tokens, loaded: reply.loading && first ? first : null, rate: reply.figures.perSecond ?? (tokens && first && moments.ended ? tokens / ((moments.ended - first) / 1000) : 0) });
  };
  try {
    const body = { model: run.model, messages: [{ role: "user", content: prefs.peek().loadPrompt }], max_tokens: prefs.peek().loadMaxTokens, stream: true, stream_options: { include_usage: true } };
    const { reply } = await streamChat("completions", body, stop, onChange);
    if (reply.error) throw new Error(reply.error);
    update(run.id, { state: "done" });
  } catch (error) {
    update(run.id, stop.aborted ? { state: "stopped" } : { state: "failed", error: explained(error) });
  }
}

async function go(): Promise<void> {
  const began = performance.now();
  runs.value = prefs.peek().loadList.map((model, id) => ({ id, model, state: "queued", began, moments: null, chars: 0, loaded: null, tokens: 0, rate: 0, error: "" }));
  started.value = began;
  running.value = true;
  setBusy("load", true);
  stopper = new AbortController();
  const timer = setInterval(() => (now.value = performance.now()), 250);
  const waiting = [...runs.peek()];
  const worker = async () => {
    for (let next = waiting.shift(); next && !stopper!.signal.aborted; next = waiting.shift()) await one(next, stopper!.signal);
  };
  await Promise.all(Array.from({ length: Math.min(concurrency.peek(), ceiling()) }, worker));
  for (const run of runs.peek()) if (run.state === "queued") update(run.id, { state: "stopped" });
  clearInterval(timer);
  now.value = performance.now();
  running.value = false;
  setBusy("load", false);
}

const firstToken = (run: Run): number | null => {
  const at = run.moments?.reasoning ?? run.moments?.content;
  return at && run.moments ? at - run.moments.started : null;
};
const total = (run: Run): number | null => (run.moments?.ended ? run.moments.ended - run.moments.started : null);

export function percentile(values: number[], share: number): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)]! : null;
}

function asCsv(): string {
  const lines = ["request,model,state,first_token_ms,total_ms,tokens,tokens_per_second,error"];
  for (const run of runs.peek()) lines.push([run.id + 1, JSON.stringify(run.model), run.state, Math.round(firstToken(run) ?? 0), Math.round(total(run) ?? 0), run.tokens, run.rate.toFixed(2), JSON.stringify(run.error)].join(","));
  return lines.join("\r\n");
}

export function LoadTest() {
  const choice = useSignal("");
  const times = useSignal(1);
  const busy = running.value;
  const p = prefs.value;
  const list = p.loadList;
  const put = (next: string[]) => setPref("loadList", next.slice(0, MOST));
  const add = () => put([...list, ...Array.from({ length: times.value }, () => choice.value)]);
  return (
    <div class="split">
      <Card title="Load test">
        <div class="body stack">
          <NoModels />
          <Picker value={choice.value} disabled={busy} onChange={(id) => (choice.value = id)} />
          <div class="filters"><Field label="Times"><input type="number" min={1} max={100} value={times.value} onChange={(event) => (times.value = Math.min(100, Math.max(1, Number(event.currentTarget.value) || 1)))} /></Field><Button icon="plus" disabled={busy || whyNot(choice.value) !== ""} reason={whyNot(choice.value) || undefined} onClick={add}>Add</Button></div>
          {list.length > 0 && <Order list={list} busy={busy} put={put} />}
          <Field label="Prompt"><textarea rows={3} value={p.loadPrompt} disabled={busy} onInput={(event) => setPref("loadPrompt", event.currentTarget.value)} /></Field>
          <div class="filters">
            <Field label="Most tokens"><input type="number" min={1} value={p.loadMaxTokens} disabled={busy} onChange={(event) => setPref("loadMaxTokens", Math.max(1, Number(event.currentTarget.value) || 256))} /></Field>
            <Field label="At once"><input type="number" min={1} max={ceiling()} value={concurrency.value} disabled={busy} onChange={(event) => (concurrency.value = Math.min(ceiling(), Math.max(1, Number(event.currentTarget.value) || 1)))} /></Field>
          </div>
          <p class="caption muted">At most {ceiling()} at once: a browser has six connections to a server over HTTP/1.1, and this page needs some.</p>
          <div class="row">
            {busy ? <Button icon="stop" onClick={() => stopper?.abort()}>Stop</Button> : <Button kind="primary" icon="play" disabled={list.length === 0} reason={list.length ? undefined : "Add requests first"} onClick={() => void go()}>Go</Button>}
            <Button disabled={busy} onClick={() => { runs.value = []; put([]); }}>Clear</Button>
            <Button icon="download" disabled={busy || runs.value.length === 0} onClick={() => saveText("load-test.csv", asCsv(), "text/csv")}>CSV</Button>
          </div>
        </div>
      </Card>
      <Card title="Requests">{runs.value.length === 0 ? <Empty>Add requests and press Go</Empty> : <Results />}</Card>
    </div>
  );
}

/** The requests in the order they are sent: dragged with the mouse, moved with Alt and arrows. */
function Order({ list, busy, put }: { list: string[]; busy: boolean; put: (next: string[]) => void }) {
  const dragged = useRef(-1);
  const move = (from: number, to: number) => {
    if (busy || from < 0 || from === to || to < 0 || to >= list.length) return;
    const next = [...list];
    next.splice(to, 0, ...next.splice(from, 1));
    put(next);
    requestAnimationFrame(() => document.getElementById(`request-${to}`)?.focus());
  };
  const onKeyDown = (event: KeyboardEvent, i: number) => {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!by || !event.altKey) return;
    event.preventDefault();
    move(i, i + by);
  };
  return (
    <div class="tight">
      <p class="caption muted">{plural(list.length, "request")} in this order; drag, or Alt + arrows on a name</p>
      <ul class="order" aria-label="Requests to send">
        {list.map((model, i) => (
          <li key={i} class="chip" draggable={!busy} onDragStart={() => (dragged.current = i)} onDragOver={(event) => event.preventDefault()} onDrop={(event) => { event.preventDefault(); move(dragged.current, i); }}>
            <button type="button" id={`request-${i}`} class="plain" disabled={busy} title="Drag, or Alt and arrows" onKeyDown={(event) => onKeyDown(event, i)}><span class="muted num">{i + 1}</span> {model}</button>
            <button type="button" class="plain" disabled={busy} aria-label={`Remove request ${i + 1}`} title="Remove" onClick={() => put(list.filter((_, at) => at !== i))}>×</button>
          </li>
        ))}
      </ul>
    </div>
  );
}

const TICKS = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000];

/** Distance of the marks on an axis of so many ms: at most eight of them, unless it is very long. */
export const tickOf = (length: number): number => TICKS.find((step) => length / step <= 8) ?? 30_000;

const STATES = { queued: "queued in browser", running: "running", done: "done", failed: "failed", stopped: "stopped" } as const;

function Results() {
  const all = runs.value;
  const firsts = all.map(firstToken).filter((value): value is number => value !== null);
  const totals = all.map(total).filter((value): value is number => value !== null);
  const end = Math.max(now.value, ...all.map((run) => run.moments?.ended ?? 0), started.value + 1000);
  const tick = tickOf(end - started.value);
  const place = (at: number) => `${(100 * (at - started.value)) / (end - started.value)}%`;
  const bar = (kind: string, from: number, to: number) => (to > from ? <i class={kind} style={{ left: place(from), width: `${(100 * (to - from)) / (end - started.value)}%` }} title={`${kind} ${short(to - from, 2)}`} /> : null);
  const stat = (values: number[], share: number) => { const value = percentile(values, share); return value === null ? "–" : short(value, 2); };
  return (
    <div class="body stack">
      <dl class="mini"><div><dt>First token p50 / p95</dt><dd>{stat(firsts, 0.5)} / {stat(firsts, 0.95)}</dd></div><div><dt>Total p50 / p95</dt><dd>{stat(totals, 0.5)} / {stat(totals, 0.95)}</dd></div><div><dt>Done</dt><dd>{all.filter((run) => run.state === "done").length} of {all.length}</dd></div></dl>
      <details open={prefs.value.loadTimelineOpen} onToggle={(event) => { if (event.currentTarget.open !== prefs.peek().loadTimelineOpen) setPref("loadTimelineOpen", event.currentTarget.open); }}><summary>Timeline</summary>
        <div class="gantt">
          <div class="lane axis" aria-hidden="true"><span /><div class="track">{Array.from({ length: Math.min(40, Math.floor((end - started.value) / tick)) + 1 }, (_, i) => <span key={i} style={{ left: place(started.value + i * tick) }}>{tick < 1000 ? `${(i * tick / 1000).toFixed(1)}` : (i * tick) / 1000} s</span>)}</div></div>
          {all.map((run) => {
            const m = run.moments;
            const until = m?.ended ?? now.value;
            const first = m?.reasoning ?? m?.content;
            return (
              <div class="lane" key={run.id}><span class="cut small">{run.model}</span><div class="track">
                {bar("queued", run.began, m?.started ?? (run.state === "queued" ? now.value : run.began))}
                {m && bar(run.loaded ? "loading" : "waiting", m.started, first ?? until)}
                {m?.reasoning && bar("reasoning", m.reasoning, m.content ?? until)}
                {m?.content && bar("content", m.content, until)}
              </div></div>
            );
          })}
        </div>
      </details>
      <div class="scroll-x" tabIndex={0} role="group" aria-label="Results">
        <table class="table">
          <thead><tr><th class="num">#</th><th>Model</th><th>State</th><th class="num">First token</th><th class="num">Total</th><th class="num">Tokens</th><th class="num">Decode</th></tr></thead>
          <tbody>{all.map((run) => { const first = firstToken(run); const whole = total(run); return <tr key={run.id} class={run.state === "failed" ? "failed" : ""}><td class="num">{run.id + 1}</td><td>{run.model}</td><td>{STATES[run.state]}{run.error && <div class="error-line clamp" title={run.error}>{run.error}</div>}</td><td class="num">{first === null ? "–" : short(first, 2)}</td><td class="num">{whole === null ? "–" : short(whole, 2)}</td><td class="num">{run.tokens || "–"}</td><td class="num">{run.rate ? `${run.rate.toFixed(1)} t/s` : "–"}</td></tr>; })}</tbody>
        </table>
      </div>
    </div>
  );
}
