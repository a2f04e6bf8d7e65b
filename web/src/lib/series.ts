// Samples as columns for a chart: a true time axis, and a gap wherever something is not known.
import type { GpuStat, SysStat } from "../wire/types";

export interface Line {
  label: string;
  values: (number | null)[];
}
export interface Frame {
  times: number[];
  lines: Line[];
}

const GAP = 2.5;

/** The usual distance of samples, s. */
export function interval(times: number[]): number {
  const steps = times.slice(1).map((time, i) => time - times[i]!).filter((step) => step > 0).sort((a, b) => a - b);
  return steps[Math.floor(steps.length / 2)] ?? 5;
}

/** Put an empty sample into every hole, so that no line is drawn across it. */
export function withGaps(frame: Frame): Frame {
  const { times } = frame;
  const limit = interval(times) * GAP;
  const out: Frame = { times: [], lines: frame.lines.map((line) => ({ label: line.label, values: [] })) };
  times.forEach((time, i) => {
    const before = times[i - 1];
    if (before !== undefined && time - before > limit) {
      out.times.push(before + limit / 2);
      out.lines.forEach((line) => line.values.push(null));
    }
    out.times.push(time);
    out.lines.forEach((line, k) => line.values.push(frame.lines[k]!.values[i] ?? null));
  });
  return out;
}

const at = (timestamp: string): number => Date.parse(timestamp) / 1000;

export function sysFrame(samples: SysStat[], lines: [string, (sample: SysStat) => number | null][]): Frame {
  const good = samples.filter((sample) => !Number.isNaN(at(sample.timestamp)));
  return withGaps({ times: good.map((sample) => at(sample.timestamp)), lines: lines.map(([label, value]) => ({ label, values: good.map(value) })) });
}

const CLOSE = 1.5;

/** One line per card; cards sampled together share a time. */
export function gpuFrame(samples: GpuStat[], value: (sample: GpuStat) => number | null): Frame {
  const cards = new Map<string, string>();
  const rows: { time: number; values: Map<string, number | null> }[] = [];
  for (const sample of samples) {
    const time = at(sample.timestamp);
    if (Number.isNaN(time)) continue;
    const key = String(sample.id);
    cards.set(key, `${sample.id} · ${sample.name || "GPU"}`);
    const last = rows.at(-1);
    if (last && Math.abs(time - last.time) < CLOSE && !last.values.has(key)) last.values.set(key, value(sample));
    else rows.push({ time, values: new Map([[key, value(sample)]]) });
  }
  return withGaps({
    times: rows.map((row) => row.time),
    lines: [...cards].map(([key, label]) => ({ label, values: rows.map((row) => row.values.get(key) ?? null) })),
  });
}

/** Mbit/s per interface from counters; a counter that went back is a gap, not a negative rate. */
export function netFrame(samples: SysStat[], most = 4): Frame {
  const totals = new Map<string, number>();
  const times: number[] = [];
  const rates = new Map<string, (number | null)[]>();
  const names = [...new Set(samples.flatMap((sample) => sample.net_io.map((net) => net.name)))];
  samples.forEach((sample, i) => {
    times.push(at(sample.timestamp));
    const before = samples[i - 1];
    const seconds = before ? at(sample.timestamp) - at(before.timestamp) : 0;
    for (const name of names) {
      const now = sample.net_io.find((net) => net.name === name);
      const then = before?.net_io.find((net) => net.name === name);
      for (const [way, key] of [["in", "bytes_recv"], ["out", "bytes_sent"]] as const) {
        const moved = now && then ? now[key] - then[key] : -1;
        const rate = moved >= 0 && seconds > 0 ? (moved * 8) / 1e6 / seconds : null;
        const label = `${name} ${way}`;
        const list = rates.get(label) ?? [];
        list.push(rate);
        rates.set(label, list);
        totals.set(name, (totals.get(name) ?? 0) + (rate ?? 0));
      }
    }
  });
  const busiest = [...totals].sort((a, b) => b[1] - a[1]).slice(0, most);
  const top = busiest.filter(([, total], i) => i === 0 || total > 0).map(([name]) => name); // silent ones only take up room
  const lines = top.flatMap((name) => ["in", "out"].map((way) => ({ label: `${name} ${way}`, values: rates.get(`${name} ${way}`) ?? [] })));
  return withGaps({ times, lines });
}

/** Each line on top of those before it. What is not known takes no room; where nothing is known there is a gap. */
export function stacked(frame: Frame): (number | null)[][] {
  const under = frame.times.map((_, i) => (frame.lines.some((line) => line.values[i] !== null) ? 0 : null) as number | null);
  return frame.lines.map((line) => line.values.map((value, i) => {
    if (under[i] === null) return null;
    return (under[i] = under[i]! + (value ?? 0));
  }));
}
