// The residency timeline: a lane per model over time. Bars say loading, ready, draining; on them what
// ran; above them who waited; a diamond is a decision, and tells why on hover or focus.
import { computed, signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { api } from "../wire/api";
import type { Activity } from "../wire/types";
import { activityRevision, connections, decisions, inflight, localModels, models } from "../state/live";
import { changes } from "../state/history";
import { prefs, setPref } from "../state/prefs";
import { modelHref } from "../state/router";
import { lanesOf, marksOf, type Lane, type Load, type Mark } from "../lib/residency";
import { clock, span } from "../lib/format";
import { throttled } from "../lib/throttle";
import { Button, Empty, Segmented, Skeletons } from "./basics";

const RANGES = { "5m": 300_000, "15m": 900_000, "1h": 3_600_000, "6h": 21_600_000 } as const;
const now = signal(Date.now());
const rows = signal<Activity[]>([]);
/** ms that the right edge lies before now; 0: live. */
const back = signal(0);

const fetchRows = throttled(() => {
  const end = Date.now() - back.peek();
  const query = new URLSearchParams({ limit: "500", start: new Date(end - RANGES[prefs.peek().timelineRange]).toISOString() });
  if (back.peek() > 0) query.set("end", new Date(end).toISOString()); // newer ones must not use up the limit
  api.activity(query).then((page) => (rows.value = page.data), () => undefined);
}, 2_000);

const view = computed(() => {
  const to = now.value - back.value;
  return { from: to - RANGES[prefs.value.timelineRange], to };
});

const scene = computed(() => {
  const { from, to } = view.value;
  const lanes = lanesOf({
    models: localModels.value.map((model) => ({ id: model.id, state: model.state, since: model.since ? Date.parse(model.since) : now.peek() })),
    changes: changes.value,
    inflight: inflight.value,
    rows: rows.value,
    from,
    to,
  });
  return { lanes, marks: marksOf(decisions.value, changes.value, from, to), from, to };
});

function useClock(): void {
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) now.value = Date.now();
    }, 500);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => {
    const stops = [activityRevision.subscribe(fetchRows), connections.subscribe(fetchRows), prefs.subscribe(fetchRows)];
    return () => stops.forEach((stop) => stop());
  }, []);
}

export function Timeline({ compact = false }: { compact?: boolean }) {
  useClock();
  const told = useSignal<Mark | null>(null);
  if (models.value === null) return <Skeletons rows={3} label="Loading the timeline" />;
  const { lanes, marks, from, to } = scene.value;
  const used = (lane: Lane) => lane.segments.length > 0 || lane.waiting.length > 0;
  const shown = compact ? lanes.filter(used) : [...lanes].sort((a, b) => Number(used(b)) - Number(used(a)));
  return (
    <div class="timeline">
      <Controls />
      {shown.length === 0 ? <Empty>No model was loaded in this time</Empty> : <Lanes lanes={shown} marks={marks} from={from} to={to} tell={(mark) => (told.value = mark)} />}
      <p class="told small" aria-live="polite">
        {told.value ? <><span class="muted num">{clock(told.value.at)}</span> {told.value.reason}</> : <span class="muted">{marks.length ? "Hover or focus a ◆ to see why the models changed." : "A ◆ will mark each change of models and tell why."}</span>}
      </p>
      <Legend />
    </div>
  );
}

function Controls() {
  const range = prefs.value.timelineRange;
  const step = RANGES[range] / 2;
  return (
    <div class="row wrap">
      <Segmented label="Range" value={range} options={[["5m", "5 min"], ["15m", "15 min"], ["1h", "1 h"], ["6h", "6 h"]]} onChange={(value) => setPref("timelineRange", value)} />
      <Button small icon="left" label="Earlier" onClick={() => scroll(step)} />
      <Button small icon="right" label="Later" disabled={back.value === 0} onClick={() => scroll(-step)} />
      <Button small pressed={back.value === 0} onClick={() => scroll(-back.value)}>Live</Button>
      {back.value > 0 && <span class="muted small">ends {span(back.value / 1000)} ago</span>}
    </div>
  );
}

function scroll(by: number): void {
  back.value = Math.max(0, back.value + by);
  fetchRows();
}

const percent = (value: number) => `${Math.round(value * 10_000) / 100}%`;

function Lanes({ lanes, marks, from, to, tell }: { lanes: Lane[]; marks: Mark[]; from: number; to: number; tell: (mark: Mark | null) => void }) {
  const place = (at: number) => (at - from) / (to - from);
  const drag = useRef<{ x: number; back: number } | null>(null);
  const area = useRef<HTMLDivElement>(null);
  const bar = (item: { from: number; to: number }, kind: string, title: string, key: string) => (
    <i key={key} class={kind} title={title} style={{ left: percent(place(item.from)), width: percent(Math.max(0.001, place(item.to) - place(item.from))) }} />
  );
  const counted = (loads: Load[], kind: string, words: string) => loads.map((load) => bar(load, kind, `${load.count} ${words} for ${span((load.to - load.from) / 1000)}`, `${kind}${Math.round(load.from)}`));
  const position = new Map(lanes.map((lane, i) => [lane.model, i]));
  return (
    <div
      ref={area}
      class="lanes"
      onPointerDown={(event) => {
        if (event.button === 0 && !(event.target as Element).closest("a,button")) drag.current = { x: event.clientX, back: back.value };
      }}
      onPointerMove={(event) => {
        if (!drag.current || event.buttons === 0) return;
        const moved = ((event.clientX - drag.current.x) / (area.current?.clientWidth || 1)) * (to - from);
        if (Math.abs(event.clientX - drag.current.x) > 3) back.value = Math.max(0, drag.current.back + moved);
      }}
      onPointerUp={() => {
        drag.current = null;
        fetchRows();
      }}
      onPointerLeave={() => (drag.current = null)}
    >
      {lanes.map((lane) => (
        <div class="lane" key={lane.model} role="group" aria-label={describe(lane)}>
          <a class="cut" href={modelHref(lane.model)} title={lane.model}>{lane.model}</a>
          <div class="track">
            {lane.segments.map((segment) => bar(segment, segment.phase, `${words(segment.phase)} ${span((segment.to - segment.from) / 1000)}, from ${clock(segment.from)}`, `${segment.phase}${Math.round(segment.from)}`))}
            {counted(lane.busy, "running", "running")}
            {counted(lane.draining, "draining", "draining")}
            {counted(lane.waiting, "waits", "waiting")}
            {marks.filter((mark) => mark.model === lane.model).map((mark) => <Decided key={mark.at} mark={mark} left={percent(place(mark.at))} row={position.get(lane.model)!} position={position} tell={tell} />)}
          </div>
        </div>
      ))}
      <Axis from={from} to={to} />
    </div>
  );
}

function Decided({ mark, left, row, position, tell }: { mark: Mark; left: string; row: number; position: Map<string, number>; tell: (mark: Mark | null) => void }) {
  const rows = mark.evicted.map((model) => position.get(model)).filter((at) => at !== undefined);
  return (
    <>
      {rows.map((from) => {
        const distance = from - row;
        return <i key={from} class="link" style={{ left, top: distance < 0 ? `calc(50% + ${distance} * var(--lane))` : "50%", height: `calc(${Math.abs(distance)} * var(--lane))` }} />;
      })}
      <button type="button" class="mark" style={{ left }} aria-label={`${clock(mark.at)}: ${mark.reason}`} title={mark.reason} onMouseEnter={() => tell(mark)} onMouseLeave={() => tell(null)} onFocus={() => tell(mark)} onBlur={() => tell(null)} onClick={() => tell(mark)} />
    </>
  );
}

function Axis({ from, to }: { from: number; to: number }) {
  const step = [30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000, 7_200_000].find((size) => (to - from) / size <= 7) ?? 7_200_000;
  const offset = new Date(from).getTimezoneOffset() * 60_000;
  const ticks: number[] = [];
  for (let at = Math.ceil((from - offset) / step) * step + offset; at <= to; at += step) ticks.push(at);
  return (
    <div class="lane axis" aria-hidden="true">
      <span />
      <div class="track">{ticks.map((at) => <span key={at} style={{ left: percent((at - from) / (to - from)) }}>{clock(at).slice(0, step < 60_000 ? 8 : 5)}</span>)}</div>
    </div>
  );
}

const words = (phase: string): string => ({ starting: "loading", ready: "ready", stopping: "stopping" })[phase] ?? phase;

function describe(lane: Lane): string {
  const last = lane.segments.at(-1);
  const waited = lane.waiting.at(-1);
  return `${lane.model}: ${last ? words(last.phase) : "not loaded"}${waited ? `, ${waited.count} waited` : ""}`;
}

const Legend = () => (
  <ul class="legend caption muted" aria-label="Legend">
    <li><i class="starting" />loading</li><li><i class="ready" />ready</li><li><i class="running" />busy</li><li><i class="draining" />draining</li><li><i class="stopping" />stopping</li><li><i class="waits" />requests waiting</li><li><span class="info-text">◆</span>decision</li>
  </ul>
);
