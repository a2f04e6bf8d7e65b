// The machine, its cards and the inference over the last hour. Samples come as events; where the
// server sends none, they are asked for.
import { computed, signal, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, ApiError } from "../wire/api";
import type { Activity } from "../wire/types";
import { activityRevision, addPerf, connections, inflight, localModels, modelMemory, perf, perfIsLive, queued, takeMemory, want, type ModelMemory } from "../state/live";
import { changes } from "../state/history";
import { messageOf } from "../state/actions";
import { prefs, setPref } from "../state/prefs";
import { clock, span } from "../lib/format";
import { gpuFrame, interval, netFrame, sysFrame, withGaps, type Frame } from "../lib/series";
import { throttled } from "../lib/throttle";
import { Button, Card, Check, Empty, ErrorNote, Segmented, Skeletons } from "../ui/basics";
import { Chart } from "../ui/chart";
import { tick } from "../ui/ticker";

const RANGES = { "5m": 300, "15m": 900, "1h": 3600 } as const;
const POLL = 5_000;

const status = signal<"loading" | "on" | "off" | "error">("loading");
const problem = signal("");
const paused = signal(false);
const now = signal(Date.now() / 1000);
const rows = signal<Activity[]>([]);
const counts = signal<{ at: number; flight: number; queued: number }[]>([]);

async function fetchAll(): Promise<void> {
  try {
    const got = await api.performance(perf.peek().sys.at(-1)?.timestamp ?? "");
    addPerf(got.sys_stats, got.gpu_stats);
    takeMemory(got.models);
    status.value = "on";
  } catch (error) {
    if (error instanceof ApiError && error.status === 503) status.value = "off";
    else {
      problem.value = messageOf(error);
      status.value = perf.peek().sys.length ? "on" : "error";
    }
  }
}

const fetchRows = throttled(() => {
  const query = new URLSearchParams({ limit: "999", start: new Date(Date.now() - 3_600_000).toISOString() });
  api.activity(query).then((page) => (rows.value = page.data), () => undefined);
}, 5_000);

const shownTime = computed(() => {
  const to = paused.value ? now.peek() : now.value;
  return { from: to - RANGES[prefs.value.perfRange], to };
});

/** Loads as bands, so that a swap shows in every chart. */
const bands = computed(() => {
  const found: { from: number; to: number; label: string }[] = [];
  const began = new Map<string, number>();
  for (const change of changes.value) {
    if (change.to === "starting") began.set(change.model, change.at / 1000);
    else {
      const from = began.get(change.model);
      if (from) found.push({ from, to: change.at / 1000, label: `${change.model} loads` });
      began.delete(change.model);
    }
  }
  for (const [model, from] of began) found.push({ from, to: now.value, label: `${model} loads` });
  return found;
});

/** Requests, tokens and durations per slice of time, from the recorded requests. */
const inference = computed(() => {
  const { from, to } = shownTime.value;
  const width = (to - from) / 60;
  const slices = Array.from({ length: 60 }, (_, i) => ({ at: from + (i + 0.5) * width, rows: [] as Activity[] }));
  for (const row of rows.value) {
    const at = Date.parse(row.timestamp) / 1000;
    slices[Math.floor((at - from) / width)]?.rows.push(row);
  }
  const sum = (list: Activity[], value: (row: Activity) => number) => list.reduce((total, row) => total + Math.max(0, value(row)), 0);
  const part = (list: Activity[], share: number) => {
    const sorted = list.map((row) => row.duration_ms / 1000).sort((a, b) => a - b);
    return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]! : null;
  };
  const times = slices.map((slice) => slice.at);
  const line = (label: string, value: (list: Activity[]) => number | null) => ({ label, values: slices.map((slice) => value(slice.rows)) });
  return {
    requests: { times, lines: [line("requests", (list) => list.length / width)] } as Frame,
    tokens: { times, lines: [line("prompt", (list) => sum(list, (row) => row.tokens.input_tokens) / width), line("generated", (list) => sum(list, (row) => row.tokens.output_tokens) / width)] } as Frame,
    durations: { times, lines: [line("p50", (list) => part(list, 0.5)), line("p95", (list) => part(list, 0.95))] } as Frame,
  };
});

const flightFrame = computed((): Frame => withGaps({ times: counts.value.map((item) => item.at), lines: [{ label: "in flight", values: counts.value.map((item) => item.flight) }, { label: "queued", values: counts.value.map((item) => item.queued) }] }));

/** What each model's processes took, at every sample since this page was opened: the server keeps no history of it. */
const held = signal<{ at: number; models: ReadonlyMap<string, ModelMemory> }[]>([]);

const heldFrame = (): Frame => {
  const names = [...new Set(held.value.flatMap((sample) => [...sample.models.keys()]))].sort();
  return withGaps({ times: held.value.map((sample) => sample.at), lines: names.map((label) => ({ label, values: held.value.map(({ models }) => { const own = models.get(label); return own ? (own.vram_mb ?? own.rss_mb) / 1024 : null; }) })) });
};

export default function Performance() {
  const perCore = useSignal(false);
  useEffect(() => {
    const stop = want("perf");
    const timer = setInterval(() => {
      if (document.hidden) return;
      if (!paused.peek()) now.value = Date.now() / 1000;
      counts.value = [...counts.value, { at: Date.now() / 1000, flight: inflight.peek().length, queued: queued.peek() }].slice(-3600);
    }, 1_000);
    const poll = setInterval(() => {
      if (!document.hidden && !perfIsLive.peek() && status.peek() !== "off") void fetchAll(); // no sample comes by itself
    }, POLL);
    return () => {
      stop();
      clearInterval(timer);
      clearInterval(poll);
    };
  }, []);
  useSignalEffect(() => {
    if (connections.value) {
      void fetchAll();
      fetchRows();
    }
  });
  useSignalEffect(() => {
    if (activityRevision.value) fetchRows();
  });
  useSignalEffect(() => {
    if (!perf.value.sys.length) return;
    const running = new Map([...modelMemory.peek()].filter(([id]) => localModels.peek().some((model) => model.id === id && model.state !== "stopped")));
    held.value = [...held.peek(), { at: Date.now() / 1000, models: running }].slice(-720);
  });
  return (
    <>
      <div class="page-head">
        <h1 tabIndex={-1}>Performance</h1>
        <Age />
        <span class="push" />
        <Segmented label="Range" value={prefs.value.perfRange} options={[["5m", "5 min"], ["15m", "15 min"], ["1h", "1 h"]]} onChange={(value) => setPref("perfRange", value)} />
        <Button icon={paused.value ? "play" : "pause"} pressed={paused.value} onClick={() => (paused.value = !paused.value)}>{paused.value ? "Resume" : "Pause"}</Button>
      </div>
      <Body perCore={perCore.value} setPerCore={(on) => (perCore.value = on)} />
    </>
  );
}

function Age() {
  const newest = perf.value.sys.at(-1)?.timestamp;
  if (!newest) return null;
  void tick.value;
  const age = now.value - Date.parse(newest) / 1000;
  return <span class={age > 30 ? "error-line" : "muted small"}>{age > 30 ? `last sample ${span(age)} ago` : `as of ${clock(newest)}`}</span>;
}

function Body({ perCore, setPerCore }: { perCore: boolean; setPerCore: (on: boolean) => void }) {
  if (status.value === "loading") return <Skeletons rows={8} label="Loading samples" />;
  if (status.value === "error") return <ErrorNote text={problem.value} retry={() => void fetchAll()} />;
  const { from, to } = shownTime.value;
  const common = { from, to, bands: bands.value };
  const { sys, gpu } = perf.value;
  const charts = inference.value;
  return (
    <>
      {status.value === "off" ? (
        <Card title="The machine"><Empty><span>Performance monitoring is switched off.</span><span>Set <code>performance.disabled: false</code> in the configuration file (or remove the key) and reload.</span></Empty></Card>
      ) : (
        <>
          <h2>GPUs</h2>
          {gpu.length === 0 ? <Card><Empty>No GPU data available: no supported card was found, or no tool to ask it (NVML, LACT, nvidia-smi, rocm-smi).</Empty></Card> : <GpuCharts common={common} />}
          <div class="row"><h2>System</h2><span class="push" /><Check label="Each core" checked={perCore} onChange={setPerCore} /></div>
          {sys.length === 0 ? <Card><Empty>The first sample has not been taken yet</Empty></Card> : <SystemCharts common={common} perCore={perCore} />}
        </>
      )}
      <h2>Inference</h2>
      <div class="charts">
        <Chart title="Requests finished" unit="per second" digits={2} frame={charts.requests} {...common} />
        <Chart title="Tokens" unit="t/s" frame={charts.tokens} {...common} />
        <Chart title="Duration" unit="s" digits={2} frame={charts.durations} {...common} />
        {held.value.some((sample) => sample.models.size > 0) && <Chart title="Memory of models" unit="GiB, VRAM where known, since this page was opened" digits={2} stack frame={heldFrame()} {...common} />}
        <Chart title="In flight and queued" unit="requests, since this page was opened" digits={0} zero={4} frame={flightFrame.value} {...common} />
      </div>
    </>
  );
}

type Common = { from: number; to: number; bands: { from: number; to: number; label: string }[] };

function GpuCharts({ common }: { common: Common }) {
  const { gpu } = perf.value;
  const positive = (value: number | null) => (value !== null && value > 0 ? value : null);
  const hasVramTemp = gpu.some((sample) => (sample.vram_temp_c ?? 0) > 0);
  const hasFan = gpu.some((sample) => (sample.fan_speed_pct ?? 0) > 0);
  return (
    <div class="charts">
      <Chart title="GPU utilisation" unit="%" zero={100} digits={0} frame={gpuFrame(gpu, (sample) => sample.gpu_util_pct)} {...common} />
      <Chart title="GPU memory" unit={`GiB of ${[...new Map(gpu.slice(-16).map((sample) => [sample.id, ((sample.mem_total_mb ?? 0) / 1024).toFixed(0)])).values()].join(" + ")}`} frame={gpuFrame(gpu, (sample) => (sample.mem_used_mb === null ? null : sample.mem_used_mb / 1024))} {...common} />
      <Chart title="Temperature" unit="°C" digits={0} zero={false} frame={gpuFrame(gpu, (sample) => positive(sample.temp_c))} {...common} />
      {hasVramTemp && <Chart title="VRAM temperature" unit="°C" digits={0} zero={false} frame={gpuFrame(gpu, (sample) => positive(sample.vram_temp_c))} {...common} />}
      <Chart title="Power" unit="W" digits={0} frame={gpuFrame(gpu, (sample) => positive(sample.power_draw_w))} {...common} />
      {hasFan && <Chart title="Fan" unit="%" zero={100} digits={0} frame={gpuFrame(gpu, (sample) => sample.fan_speed_pct)} {...common} />}
    </div>
  );
}

function SystemCharts({ common, perCore }: { common: Common; perCore: boolean }) {
  const { sys } = perf.value;
  const cores = Math.max(0, ...sys.slice(-3).map((sample) => sample.cpu_util_per_core.length));
  const mean = (list: number[]) => (list.length ? list.reduce((a, b) => a + b, 0) / list.length : null);
  const cpu = perCore
    ? Array.from({ length: cores }, (_, i) => [`core ${i}`, (sample: (typeof sys)[number]) => sample.cpu_util_per_core[i] ?? null] as [string, (sample: (typeof sys)[number]) => number | null])
    : ([["mean", (sample) => mean(sample.cpu_util_per_core)], ["least busy core", (sample) => (sample.cpu_util_per_core.length ? Math.min(...sample.cpu_util_per_core) : null)], ["busiest core", (sample) => (sample.cpu_util_per_core.length ? Math.max(...sample.cpu_util_per_core) : null)]] as [string, (sample: (typeof sys)[number]) => number | null][]);
  const last = sys.at(-1)!;
  return (
    <div class="charts">
      <Chart key={String(perCore)} title="CPU" unit="%" zero={100} digits={0} spread={!perCore} frame={sysFrame(sys, cpu)} {...common} />
      <Chart title="Memory" unit={`GiB of ${(last.mem_total_mb / 1024).toFixed(0)}${last.swap_total_mb ? `, swap of ${(last.swap_total_mb / 1024).toFixed(0)}` : ""}`} frame={sysFrame(sys, [["memory", (sample) => sample.mem_used_mb / 1024], ...(last.swap_total_mb ? [["swap", (sample) => sample.swap_used_mb / 1024] as [string, (sample: (typeof sys)[number]) => number]] : [])])} {...common} />
      <Chart title="Load average" unit="processes" digits={2} frame={sysFrame(sys, [["1 min", (sample) => sample.load_avg_1], ["5 min", (sample) => sample.load_avg_5], ["15 min", (sample) => sample.load_avg_15]])} {...common} />
      <Chart title="Network" unit="Mbit/s" digits={2} frame={netFrame(sys)} {...common} />
    </div>
  );
}

export { interval };
