// One glance: is it healthy, what is loaded, what is it doing, what just failed.
import { computed, signal, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, root } from "../wire/api";
import type { Activity, Model } from "../wire/types";
import { activityRevision, connections, inflight, inflightByModel, localModels, modelMemory, models, online, perf, perfIsLive, queuedOf, addPerf, takeMemory, want } from "../state/live";
import { load, messageOf } from "../state/actions";
import { href, modelHref } from "../state/router";
import { bytes, gib, memory, relative, seconds, span, speed } from "../lib/format";
import { throttled } from "../lib/throttle";
import { Button, Card, CopyButton, Empty, ErrorNote, Select, Skeletons } from "../ui/basics";
import { CancelButton, Elapsed, ModelActions, ModelState, OFFLINE, secondsSince, ServerLink, Ttl, memoryText, modelName } from "../ui/model";
import { slowTick, tick } from "../ui/ticker";
import { Feed } from "../ui/feed";
import { Timeline } from "../ui/timeline";
import { Status } from "../ui/status";

const recent = signal<Activity[] | null>(null);
const recentError = signal("");
const recentTotal = signal(0);
let sequence = 0;

async function fetchRecent(): Promise<void> {
  const own = ++sequence;
  try {
    const page = await api.activity(new URLSearchParams({ limit: "10" }));
    if (own !== sequence) return;
    recent.value = page.data;
    recentTotal.value = page.total;
    recentError.value = "";
  } catch (error) {
    if (own === sequence) recentError.value = messageOf(error);
  }
}
const refresh = throttled(() => void fetchRecent(), 1000);

/** The last finished request of each model, for its speed. */
const lastOf = computed(() => {
  const newest = new Map<string, Activity>();
  for (const row of recent.value ?? []) if (!newest.has(row.model) && row.tokens.tokens_per_second > 0) newest.set(row.model, row);
  return newest;
});

export default function Overview() {
  useSignalEffect(() => {
    if (connections.value) void fetchRecent();
  });
  useSignalEffect(() => {
    if (activityRevision.value) refresh();
  });
  return (
    <>
      <div class="page-head"><h1 tabIndex={-1}>Overview</h1></div>
      <Running />
      {recentTotal.value === 0 && recent.value !== null && <Setup />}
      <Card title="Residency" actions={<a href={href("timeline")}>Open timeline</a>}>
        <div class="body"><Timeline compact /></div>
      </Card>
      <div class="grid2">
        <div class="stack"><Flight /><Recent /></div>
        <div class="stack"><Memory /><Feed /></div>
      </div>
    </>
  );
}

function Running() {
  if (models.value === null) return <Card title="Running models"><Skeletons rows={3} label="Loading models" /></Card>;
  const running = localModels.value.filter((model) => model.state !== "stopped" && model.state !== "shutdown");
  const failed = localModels.value.filter((model) => model.state === "stopped" && model.last_error);
  const shown = [...running, ...failed];
  return (
    <Card title="Running models" actions={<span class="muted small">{running.length} of {localModels.value.length}</span>}>
      <div class="body">
        {shown.length ? <ul class="grid3">{shown.map((model) => <ModelCard key={model.id} model={model} />)}</ul> : <NothingLoaded />}
      </div>
    </Card>
  );
}

function NothingLoaded() {
  const choice = useSignal("");
  const all = localModels.value;
  if (!all.length) return <Empty>No models are configured. Add some to the configuration file, see the documentation's “Get started”.</Empty>;
  const picked = all.find((model) => model.id === choice.value) ?? all[0]!;
  return (
    <Empty>
      <span>Nothing is loaded. A model loads on the first request, or load one now.</span>
      <span class="row">
        <Select label="Model to load" value={picked.id} options={all.map((model) => [model.id, modelName(model)] as const)} onChange={(id) => (choice.value = id)} />
        <Button kind="primary" icon="play" disabled={!online.value} reason={online.value ? undefined : OFFLINE} onClick={() => void load(picked)}>Load</Button>
      </span>
    </Empty>
  );
}

function ModelCard({ model }: { model: Model }) {
  const busy = inflightByModel.value.get(model.id) ?? 0;
  const last = lastOf.value.get(model.id);
  const held = memoryText(model);
  return (
    <li class="card model-card">
      <div class="row"><a class="strong cut" href={modelHref(model.id)} title={model.id}>{modelName(model)}</a><span class="push" /><ServerLink model={model} /></div>
      <div class="row wrap"><ModelState model={model} /><Age model={model} /></div>
      <dl class="mini">
        <div><dt>Requests</dt><dd>{busy}{queuedOf(model) ? ` · ${queuedOf(model)} queued` : ""}</dd></div>
        <div><dt>Unloads</dt><dd><Ttl model={model} /></dd></div>
        <div><dt>Last speed</dt><dd>{last ? speed(last.tokens.tokens_per_second) : "–"}</dd></div>
        {held && <div><dt>Memory</dt><dd>{held}</dd></div>}
      </dl>
      {model.last_error && model.state === "stopped" && <p class="error-line clamp" title={model.last_error.message}>{model.last_error.message}</p>}
      <div class="row wrap"><ModelActions model={model} />{model.state !== "stopped" && <a class="button small" href={`${modelHref(model.id)}?tab=logs`}>Logs</a>}</div>
    </li>
  );
}

function Age({ model }: { model: Model }) {
  void slowTick.value;
  const age = secondsSince(model.since);
  return age === null || model.state === "starting" ? null : <span class="muted small">for {span(age)}</span>;
}

function Flight() {
  const shown = inflight.value.slice(0, 8);
  void tick.value;
  return (
    <Card title="In flight" actions={<span class="muted small">{inflight.value.length}</span>}>
      {models.value === null ? <Skeletons rows={2} /> : shown.length === 0 ? <Empty>No requests</Empty> : (
        <div class="scroll-x" tabIndex={0} role="group" aria-label="Requests in flight">
          <table class="table">
            <thead><tr><th>Model</th><th class="wide-only">Path</th><th class="wide-only">Client</th><th class="num">Elapsed</th><th class="num">Bytes</th><th><span class="visually-hidden">Cancel</span></th></tr></thead>
            <tbody>
              {shown.map((request) => (
                <tr key={request.id}>
                  <td class="fluid" title={request.model}>{request.model}</td><td class="mono wide-only fluid" title={request.req_path}>{request.req_path}</td><td class="wide-only nowrap">{request.remote_ip}</td>
                  <td class="num"><Elapsed request={request} /></td><td class="num">{bytes(request.resp_bytes)}</td><td><CancelButton request={request} /></td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {inflight.value.length > shown.length && <div class="body"><a href={href("activity")}>{inflight.value.length - shown.length} more</a></div>}
    </Card>
  );
}

function Recent() {
  void slowTick.value;
  const rows = recent.value;
  return (
    <Card title="Recent requests" actions={<a href={href("activity")}>All activity</a>}>
      {recentError.value && <div class="body"><ErrorNote text={recentError.value} retry={() => void fetchRecent()} stale={rows !== null} /></div>}
      {rows === null ? !recentError.value && <Skeletons rows={4} label="Loading recent requests" /> : rows.length === 0 ? <Empty>No requests recorded yet</Empty> : (
        <div class="scroll-x" tabIndex={0} role="group" aria-label="Recent requests">
          <table class="table">
            <thead><tr><th>When</th><th>Model</th><th>Status</th><th class="num">Decode</th><th class="num wide-only">Duration</th></tr></thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.id} class={row.resp_status_code >= 400 ? "failed" : ""}>
                  <td class="muted nowrap" title={row.timestamp}>{relative(row.timestamp)}</td>
                  <td class="fluid" title={row.model}>{row.has_capture ? <a href={href(`captures/${row.id}`)}>{row.model}</a> : <a href={href(`activity?model=${encodeURIComponent(row.model)}`)}>{row.model}</a>}</td>
                  <td title={row.error_msg || undefined}><Status code={row.resp_status_code} /></td>
                  <td class="num">{speed(row.tokens.tokens_per_second)}</td><td class="num wide-only">{seconds(row.duration_ms)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}

function Memory() {
  const reason = useSignal("");
  useEffect(() => want("perf"), []);
  useSignalEffect(() => {
    if (!connections.value || perf.peek().sys.length || perfIsLive.peek()) return;
    api.performance(new Date(Date.now() - 900_000).toISOString()).then(
      (got) => {
        addPerf(got.sys_stats, got.gpu_stats);
        takeMemory(got.models);
        reason.value = got.sys_stats.length ? "" : "the first sample has not been taken yet";
      },
      () => (reason.value = "performance monitoring is switched off (performance.disabled)"),
    );
  });
  const { sys, gpu } = perf.value;
  const ram = sys.at(-1);
  const newest = gpu.at(-1)?.timestamp;
  const cards = gpu.filter((sample) => sample.timestamp === newest);
  const held = modelMemory.value;
  const loaded = localModels.value.filter((model) => model.state === "ready" || model.state === "starting");
  const shares = (key: "vram_mb" | "rss_mb") => loaded.flatMap((model) => { const size = held.get(model.id)?.[key] ?? model[key] ?? 0; return size ? [[modelName(model), size] as const] : []; });
  return (
    <Card title="Memory">
      <div class="body stack">
        {cards.map((card) => (
          <MemoryBar key={card.id} label={`GPU ${card.id} · ${card.name}`} used={card.mem_used_mb} total={card.mem_total_mb}
            parts={cards.length === 1 ? shares("vram_mb") : []} />
        ))}
        {!cards.length && <p class="muted">GPU data not available{ram ? ": no GPU or no tool to ask one was found." : reason.value ? `: ${reason.value}.` : "."}</p>}
        {ram && <MemoryBar label="RAM" used={ram.mem_used_mb} total={ram.mem_total_mb} parts={shares("rss_mb")} />}
      </div>
    </Card>
  );
}

export function MemoryBar({ label, used, total, parts = [] }: { label: string; used: number | null; total: number | null; parts?: readonly (readonly [string, number])[] }) {
  if (used === null || !total) return <div class="row"><span class="cut">{label}</span><span class="muted push">unknown: the driver does not say</span></div>;
  const known = parts.reduce((sum, [, size]) => sum + size, 0);
  const other = Math.max(0, used - known);
  return (
    <div class="tight">
      <div class="row small"><span class="cut">{label}</span><span class="push num">{gib(used)} / {gib(total)} GiB</span></div>
      <div class="bar" role="img" aria-label={`${label}: ${gib(used)} of ${gib(total)} GiB used`}>
        {parts.map(([name, size], i) => <i key={name} title={`${name}: ${memory(size)}`} style={{ width: `${(100 * size) / total}%`, background: `var(--series-${i % 4})` }} />)}
        <i class="other" title={`other: ${memory(other)}`} style={{ width: `${(100 * other) / total}%` }} />
      </div>
      {parts.length > 0 && <div class="caption muted">{parts.map(([name, size]) => `${name} ${memory(size)}`).join(" · ")} · other {memory(other)} · free {memory(total - used)}</div>}
    </div>
  );
}

function Setup() {
  const origin = location.origin + root;
  return (
    <Card title="Point your clients here">
      <div class="body tight">
        {[["OpenAI-compatible", `${origin}/v1`], ["Anthropic-compatible", origin]].map(([kind, address]) => (
          <div class="row wrap" key={kind}><span class="muted">{kind}</span><code>{address}</code><CopyButton text={address!} /></div>
        ))}
      </div>
    </Card>
  );
}
