// From state changes, requests and decisions to lanes: which model was where in its life when, what
// it did, and who waited. Pure, so that every rule of it is a unit test.
import type { Change } from "../state/history";
import type { Activity, Decision, Inflight } from "../wire/types";

export type Phase = "starting" | "ready" | "stopping";

export interface Segment {
  from: number;
  to: number;
  phase: Phase;
}
export interface Load {
  from: number;
  to: number;
  count: number;
}
export interface Mark {
  at: number;
  model: string;
  evicted: string[];
  reason: string;
  kind: string;
}
export interface Lane {
  model: string;
  segments: Segment[];
  busy: Load[];
  draining: Load[];
  waiting: Load[];
}

interface Span {
  from: number;
  to: number;
}

const PHASES = new Set(["starting", "ready", "stopping"]);

/** Phases of one model within [from, to]; `now` says what it is, also without any known change. */
export function segmentsOf(changes: Change[], model: string, now: string, nowSince: number, from: number, to: number): Segment[] {
  const own = changes.filter((change) => change.model === model);
  const segments: Segment[] = [];
  const push = (start: number, end: number, state: string) => {
    const clipped = { from: Math.max(start, from), to: Math.min(end, to) };
    if (clipped.to > clipped.from && PHASES.has(state)) segments.push({ ...clipped, phase: state as Phase });
  };
  for (let i = 0; i < own.length; i++) push(own[i]!.at, own[i + 1]?.at ?? to, own[i]!.to);
  const last = own.at(-1);
  if (!last) push(nowSince, to, now);
  else if (last.to !== now && PHASES.has(now)) push(Math.max(last.at, nowSince), to, now);
  return segments;
}

export function requestSpans(model: string, inflight: Inflight[], rows: Activity[], to: number): Span[] {
  const spans: Span[] = [];
  for (const request of inflight)
    if (request.model === model) spans.push({ from: Date.parse(request.timestamp) || to - request.elapsed_ms, to });
  for (const row of rows) {
    if (row.model !== model) continue;
    const end = Date.parse(row.timestamp);
    if (!Number.isNaN(end)) spans.push({ from: end - row.duration_ms, to: end });
  }
  return spans;
}

export function overlap(spans: Span[], within: Span[]): Span[] {
  const found: Span[] = [];
  for (const a of spans)
    for (const b of within) {
      const from = Math.max(a.from, b.from);
      const to = Math.min(a.to, b.to);
      if (to > from) found.push({ from, to });
    }
  return found;
}

export function minus(spans: Span[], holes: Span[]): Span[] {
  let rest = spans;
  for (const hole of holes)
    rest = rest.flatMap((a) => {
      if (hole.to <= a.from || hole.from >= a.to) return [a];
      const parts: Span[] = [];
      if (hole.from > a.from) parts.push({ from: a.from, to: hole.from });
      if (hole.to < a.to) parts.push({ from: hole.to, to: a.to });
      return parts;
    });
  return rest;
}

/** How many of the spans there are at a time, as runs of equal count. */
export function stacked(spans: Span[]): Load[] {
  const edges = spans.flatMap((span) => [[span.from, 1] as const, [span.to, -1] as const]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const loads: Load[] = [];
  let count = 0;
  let since = 0;
  for (const [at, change] of edges) {
    if (count > 0 && at > since) {
      const last = loads.at(-1);
      if (last && last.to === since && last.count === count) last.to = at;
      else loads.push({ from: since, to: at, count });
    }
    count += change;
    since = at;
  }
  return loads;
}

export interface Scene {
  models: { id: string; state: string; since: number }[];
  changes: Change[];
  inflight: Inflight[];
  rows: Activity[];
  from: number;
  to: number;
}

export function lanesOf(scene: Scene): Lane[] {
  const window = [{ from: scene.from, to: scene.to }];
  return scene.models.map(({ id, state, since }) => {
    const segments = segmentsOf(scene.changes, id, state, since, scene.from, scene.to);
    const spans = overlap(requestSpans(id, scene.inflight, scene.rows, scene.to), window);
    const ready = segments.filter((segment) => segment.phase === "ready");
    const stopping = segments.filter((segment) => segment.phase === "stopping");
    return {
      model: id,
      segments,
      busy: stacked(overlap(spans, ready)),
      draining: stacked(overlap(spans, stopping)),
      waiting: stacked(minus(minus(spans, ready), stopping)),
    };
  });
}

/** What the scheduler decided, in a sentence an operator understands. */
export function sentence(decision: Decision): string {
  const parts: string[] = [];
  if (decision.evicted.length) parts.push(`${decision.model} takes the place of ${decision.evicted.join(", ")}`);
  else parts.push(decision.kind && decision.kind !== "swap" ? `${decision.model}: ${decision.kind}` : `${decision.model} is loaded beside the others`);
  if (decision.waiters > 0) parts.push(`${decision.waiters} ${decision.waiters === 1 ? "request" : "requests"} waited${decision.oldest_wait > 0 ? `, the oldest ${decision.oldest_wait.toFixed(1)} s` : ""}`);
  if (decision.reason) parts.push(decision.reason);
  if (decision.estimate > 0) parts.push(`expected to take ${decision.estimate.toFixed(1)} s`);
  return parts.join("; ");
}

/** Decisions of the server, else what the changes themselves tell: who stopped just before who started. */
export function marksOf(decisions: Decision[], changes: Change[], from: number, to: number): Mark[] {
  const inside = (at: number) => at >= from && at <= to;
  const marks: Mark[] = decisions
    .map((decision) => ({ at: Date.parse(decision.time), model: decision.model, evicted: decision.evicted, reason: sentence(decision), kind: decision.kind || "swap" }))
    .filter((mark) => inside(mark.at));
  const told = decisions.map((decision) => [decision.model, Date.parse(decision.time)] as const);
  const stops: Change[] = [];
  for (const change of changes) {
    if (change.to === "stopping") stops.push(change);
    if (change.to !== "starting" || !inside(change.at)) continue;
    if (told.some(([model, at]) => model === change.model && Math.abs(at - change.at) < 35_000)) continue;
    const evicted = [...new Set(stops.filter((stop) => change.at - stop.at < 35_000 && endedJustBefore(changes, stop, change)).map((stop) => stop.model))];
    const reason = evicted.length
      ? `${change.model} takes the place of ${evicted.join(", ")}: a request for it came and they may not run together`
      : `${change.model} is loaded: a request for it came`;
    marks.push({ at: change.at, model: change.model, evicted, reason, kind: evicted.length ? "swap" : "load" });
  }
  return marks.sort((a, b) => a.at - b.at);
}

function endedJustBefore(changes: Change[], stop: Change, start: Change): boolean {
  const end = changes.find((change) => change.model === stop.model && change.to === "stopped" && change.at >= stop.at);
  return end !== undefined && Math.abs(start.at - end.at) < 400 && stop.model !== start.model;
}
