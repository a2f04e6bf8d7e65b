// A chart over true time: gaps where nothing is known, one crosshair for all charts.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { stacked, type Frame } from "../lib/series";
import { clock } from "../lib/format";
import { dark } from "./shell";

/** How much of its colour a filled area shows, as the end of a colour in hexadecimal. */
const SOFT = "38";
const SYNC = "llamaswap";
const HEIGHT = 184;
/** Seconds between two marks on the axis of time: whole minutes, so that hours and minutes name them. */
const STEPS = [60, 120, 300, 600, 900, 1800, 3600];
/** Time under the crosshair, s; null: none. Shared, so that every chart tells its values there. */
export const cursorTime = signal<number | null>(null);

export interface ChartProps {
  title: string;
  unit: string;
  frame: Frame;
  from: number;
  to: number;
  /** Scale from 0; with a number, up to it at least. */
  zero?: boolean | number;
  digits?: number;
  bands?: { from: number; to: number; label: string }[];
  /** The last two lines are the lowest and the highest of many: what lies between is filled. */
  spread?: boolean;
  /** The lines are parts of a whole: each stands on the one before it. */
  stack?: boolean;
}

function styleOf(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export function Chart(props: ChartProps) {
  const { title, unit, frame, from, to, digits = 1, bands = [] } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const outer = (i: number) => props.spread === true && i >= frame.lines.length - 2;
  const shape = frame.lines.map((line) => line.label).join("|");
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    const element = box.current!;
    const muted = styleOf("--muted");
    const grid = { stroke: styleOf("--line"), width: 1 };
    const axis = { stroke: muted, grid, ticks: { show: false }, font: "11px system-ui" };
    const colour = (i: number) => styleOf(`--series-${i % 4}`);
    const chart = new uPlot(
      {
        width: element.clientWidth,
        height: HEIGHT,
        padding: [6, 26, 0, 0],
        legend: { show: false },
        cursor: { sync: { key: SYNC }, y: false, points: { size: 6 }, drag: { x: false, y: false } },
        scales: { x: { time: true, range: () => [latest.current.from, latest.current.to] }, y: { range: (_, low, high) => scale(low, high, latest.current.zero ?? true) } },
        axes: [{ ...axis, grid: { show: false }, size: 26, values: (_, ticks) => ticks.map((tick) => clock(tick * 1000).slice(0, 5)), space: 46, incrs: STEPS }, { ...axis, size: 44, space: 36 }],
        series: [{}, ...frame.lines.map((_, i) => ({ stroke: colour(i), width: 1.5, ...(props.stack && i === 0 ? { fill: `${colour(0)}${SOFT}` } : {}), ...(outer(i) ? { width: 0 } : {}), ...(i >= 4 ? { dash: [6, 4] } : {}), spanGaps: false, points: { size: 4, show: true, filter: (self: uPlot, series: number) => alone(self.data[series]!) } }))],
        bands: props.stack ? frame.lines.slice(1).map((_, i) => ({ series: [i + 2, i + 1] as [number, number], fill: `${colour(i + 1)}${SOFT}` })) : props.spread ? [{ series: [frame.lines.length, frame.lines.length - 1] as [number, number], fill: `${colour(0)}${SOFT}` }] : [],
        hooks: {
          setCursor: [(self) => { cursorTime.value = self.cursor.idx === null || self.cursor.idx === undefined ? null : (self.data[0][self.cursor.idx] ?? null); }],
          drawClear: [(self) => drawBands(self, latest.current.bands ?? [])],
        },
      },
      dataOf(frame, props.stack),
      element,
    );
    plot.current = chart;
    const observer = new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.destroy();
      plot.current = null;
    };
  }, [shape, dark.value]);

  useEffect(() => {
    plot.current?.setData(dataOf(frame, props.stack));
  }, [frame, from, to, bands]);

  const onKeyDown = (event: KeyboardEvent) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const chart = plot.current;
    if (!by || !chart || !frame.times.length) return;
    event.preventDefault();
    const inside = frame.times.map((time, i) => [time, i] as const).filter(([time]) => time >= from && time <= to);
    const now = chart.cursor.idx ?? inside.at(-1)?.[1] ?? 0;
    const next = Math.max(inside[0]?.[1] ?? 0, Math.min(inside.at(-1)?.[1] ?? 0, now + by));
    chart.setCursor({ left: chart.valToPos(frame.times[next]!, "x"), top: 20 });
  };

  const hovered = cursorTime.value;
  const index = hovered === null ? -1 : nearest(frame.times, hovered);
  return (
    <figure class="card chart" aria-label={title}>
      <figcaption class="row"><h3>{title}</h3><span class="muted caption">{unit}</span><span class="push caption muted num" data-cursor>{index >= 0 ? clock(frame.times[index]! * 1000) : ""}</span></figcaption>
      <div class="plot" ref={box} tabIndex={0} role="img" aria-label={`${title}: use the arrow keys to read values`} onKeyDown={onKeyDown} />
      <ul>
        {frame.lines.map((line, i) => {
          const shown = index >= 0 ? line.values[index] : lastOf(line.values);
          const [low, high] = extent(frame, line.values, from, to);
          return (
            <li key={line.label} title={`min ${text(low, digits)}, max ${text(high, digits)} ${unit}`}>
              <svg class="key" viewBox="0 0 16 3" aria-hidden="true"><path d="M0 1.500h16" stroke={`var(--series-${outer(i) ? 0 : i % 4})`} stroke-opacity={outer(i) ? 0.4 : undefined} stroke-width="2.500" stroke-dasharray={i >= 4 ? "5 3" : undefined} /></svg>
              {line.label} <b>{text(shown ?? null, digits)}</b> {low !== null && <span>({text(low, digits)}–{text(high, digits)})</span>}
            </li>
          );
        })}
      </ul>
    </figure>
  );
}

/** Values with none beside them: no line would show them. */
function alone(values: ArrayLike<number | null | undefined>): number[] {
  const found: number[] = [];
  const known = (i: number) => values[i] !== null && values[i] !== undefined;
  for (let i = 0; i < values.length; i++) if (known(i) && !known(i - 1) && !known(i + 1)) found.push(i);
  return found;
}

/** A number that would round to nought keeps its first digit. */
const text = (value: number | null, digits: number): string => (value === null ? "–" : Math.abs(value) >= 1e-4 && Math.abs(value) < 0.5 * 10 ** -digits ? value.toPrecision(1) : value.toFixed(digits));
const dataOf = (frame: Frame, stack?: boolean): uPlot.AlignedData => [frame.times, ...(stack ? stacked(frame) : frame.lines.map((line) => line.values))] as uPlot.AlignedData;

function lastOf(values: (number | null)[]): number | null {
  for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null) return values[i]!;
  return null;
}

function extent(frame: Frame, values: (number | null)[], from: number, to: number): [number | null, number | null] {
  let low: number | null = null;
  let high: number | null = null;
  values.forEach((value, i) => {
    if (value === null || frame.times[i]! < from || frame.times[i]! > to) return;
    low = low === null ? value : Math.min(low, value);
    high = high === null ? value : Math.max(high, value);
  });
  return [low, high];
}

function scale(low: number | null, high: number | null, zero: boolean | number): [number, number] {
  const top = Math.max(high ?? 1, typeof zero === "number" ? zero : 0);
  const bottom = zero === false ? (low ?? 0) : 0;
  return [zero === false ? bottom - Math.max(1, (top - bottom) * 0.1) : 0, top <= bottom ? bottom + 1 : top + (top - bottom) * (typeof zero === "number" && top <= zero ? 0 : 0.05)];
}

export function nearest(times: number[], time: number): number {
  let best = -1;
  for (let i = 0; i < times.length; i++) if (best < 0 || Math.abs(times[i]! - time) < Math.abs(times[best]! - time)) best = i;
  return best;
}

function drawBands(chart: uPlot, bands: { from: number; to: number }[]): void {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.fillStyle = styleOf("--busy-soft");
  for (const band of bands) {
    const left = Math.max(bbox.left, chart.valToPos(band.from, "x", true));
    const right = Math.min(bbox.left + bbox.width, chart.valToPos(band.to, "x", true));
    if (right > left) ctx.fillRect(left, bbox.top, Math.max(2, right - left), bbox.height);
  }
  ctx.restore();
}
