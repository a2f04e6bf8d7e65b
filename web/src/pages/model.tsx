// One model: what it did, what it says, what it is.
import { signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { idPath, json, logSoFar } from "../wire/api";
import { bag } from "../wire/decode";
import type { Model } from "../wire/types";
import { findModel, models, configRevision } from "../state/live";
import { href, modelHref, route } from "../state/router";
import { stripped } from "../lib/ansi";
import { absolute, relative, span } from "../lib/format";
import { messageOf } from "../state/actions";
import { fuzzy } from "../ui/shell";
import { Card, CopyButton, Empty, Skeletons } from "../ui/basics";
import { memoryText, ModelActions, modelName, ModelState, ServerLink, Ttl, failureText } from "../ui/model";
import { ActivityPanel } from "../ui/activitypanel";
import { StreamLog } from "../ui/logpanel";
import { changes } from "../state/history";
import { Tags } from "./models";

const TABS = [["activity", "Activity"], ["logs", "Logs"], ["details", "Details"]] as const;

export default function ModelPage() {
  const wanted = route.value.arg;
  if (models.value === null) return <><div class="page-head"><h1 tabIndex={-1} class="cut">{wanted}</h1></div><Card><Skeletons rows={6} label="Loading the model" /></Card></>;
  const model = findModel(wanted);
  if (!model) return <Unknown id={wanted} />;
  const asked = route.value.query.get("tab");
  const tab = TABS.some(([id]) => id === asked) ? asked : "activity";
  return (
    <>
      <div class="page-head">
        <h1 tabIndex={-1} class="cut" title={model.id}>{modelName(model)}</h1>
        {model.name && <span class="muted cut">({model.id})</span>}
        <ModelState model={model} />
        <span class="push" />
        {!model.peerID && <><ServerLink model={model} /><ModelActions model={model} /></>}
      </div>
      {model.description && <Description text={model.description} />}
      {model.aliases.length > 0 && <p class="muted small">Also called {model.aliases.join(", ")}</p>}
      {failureText(model) && model.state === "stopped" && <div class="notice" role="alert">{failureText(model)}</div>}
      <nav class="tabs" aria-label="Views of the model">
        {TABS.map(([id, label]) => <a key={id} href={`${modelHref(wanted)}?tab=${id}`} aria-current={tab === id ? "page" : undefined}>{label}</a>)}
      </nav>
      {tab === "activity" && <ActivityPanel key={model.id} model={model.id} />}
      {tab === "logs" && (model.peerID ? <Empty>The log of a peer's model is on the peer.</Empty> : <div class="fill log-grid single"><StreamLog key={model.id} source={model.id} title={`Log of ${modelName(model)}`} /></div>)}
      {tab === "details" && <Details model={model} />}
    </>
  );
}

function Description({ text }: { text: string }) {
  if (text.length < 300) return <p class="muted"><em>{text}</em></p>;
  return <details><summary>{text.slice(0, 120)}…</summary><p class="muted"><em>{text}</em></p></details>;
}

function Unknown({ id }: { id: string }) {
  const close = (models.value ?? [])
    .map((model) => ({ model, score: Math.max(fuzzy(id, model.id), similarity(id, model.id)) }))
    .filter(({ score }) => score > 0)
    .sort((a, b) => b.score - a.score)
    .slice(0, 4);
  return (
    <>
      <div class="page-head"><h1 tabIndex={-1}>Model not found</h1></div>
      <Card><div class="body stack">
        <p>There is no model <code>{id}</code>.</p>
        {close.length > 0 && <p>Did you mean {close.map(({ model }, i) => <span key={model.id}>{i > 0 && ", "}<a href={modelHref(model.id)}>{model.id}</a></span>)}?</p>}
        <p><a href={href("models")}>All models</a></p>
      </div></Card>
    </>
  );
}

/** Shared pairs of letters, as a share of all. */
function similarity(a: string, b: string): number {
  const pairs = (text: string) => new Set(Array.from({ length: Math.max(0, text.length - 1) }, (_, i) => text.slice(i, i + 2).toLowerCase()));
  const [x, y] = [pairs(a), pairs(b)];
  const common = [...x].filter((pair) => y.has(pair)).length;
  return common / Math.max(1, x.size + y.size - common) > 0.25 ? (100 * common) / Math.max(1, x.size) : 0;
}

const command = signal<Record<string, { cmd: string; proxy: string }>>({});

function Details({ model }: { model: Model }) {
  const config = useSignal<unknown>(undefined);
  useEffect(() => {
    json("/running").then(
      (got) => {
        const list = bag(got, "running")["running"];
        if (Array.isArray(list)) command.value = Object.fromEntries(list.map((item) => [String(item.model), { cmd: String(item.cmd ?? ""), proxy: String(item.proxy ?? "") }]));
      },
      () => undefined,
    );
  }, [model.state, model.id]);
  useEffect(() => {
    json("/api/config").then((got) => (config.value = modelSection(got, model.id)), () => undefined);
  }, [model.id, configRevision.value]);
  const running = command.value[model.id];
  const loads = loadTimes(model.id);
  const facts: [string, preact.ComponentChildren][] = [];
  const add = (label: string, value: preact.ComponentChildren) => facts.push([label, value]);
  if (running?.cmd) add("Command", <span class="row"><code class="grow">{hidden(running.cmd)}</code><CopyButton text={hidden(running.cmd)} /></span>);
  if (running?.proxy) add("Address", <code>{running.proxy}</code>);
  if (model.port) add("Port", model.port);
  if (model.pid) add("Process", <span class="num">{model.pid}</span>);
  if (memoryText(model)) add("Memory", memoryText(model));
  add("TTL", <Ttl model={model} />);
  if (model.group) add("Group", model.group);
  if (model.sets?.length) add("Sets", model.sets.join(", "));
  if (model.aliases.length) add("Aliases", model.aliases.join(", "));
  if (model.since) add("State since", absolute(model.since));
  if (model.last_used) add("Last used", relative(model.last_used));
  if (model.load_ms_p50) add("Usual load time", span(model.load_ms_p50 / 1000));
  if (loads.length) add("Last loads", loads.map((seconds) => `${seconds.toFixed(1)} s`).join(", "));
  if (model.last_error) add("Last error", <span class="error-line pre">{model.last_error.at && `${absolute(model.last_error.at)}: `}{model.last_error.exit_code !== undefined && `exit ${model.last_error.exit_code}. `}{model.last_error.message}</span>);
  if (model.last_error) add("Its last lines", <LastLines key={model.last_error.at} id={model.id} />);
  add("Capabilities", Object.keys(model.capabilities).length || model.context_length ? <span class="row wrap"><Tags model={model} /></span> : <span class="muted">none reported</span>);
  return (
    <>
      <Card title="Details"><dl class="facts body">{facts.map(([label, value]) => [<dt key={`${label}t`}>{label}</dt>, <dd key={`${label}d`}>{value}</dd>])}</dl></Card>
      {config.value !== undefined && <Card title="Configuration" actions={<CopyButton text={JSON.stringify(config.value, null, 2)} />}><pre class="code" tabIndex={0}>{JSON.stringify(config.value, null, 2)}</pre></Card>}
    </>
  );
}

const LINES = 20;

function LastLines({ id }: { id: string }) {
  const lines = useSignal<string[] | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    logSoFar(idPath(id), stop.signal).then((log) => (lines.value = log.trimEnd().split("\n").slice(-LINES).map(stripped)), (cause) => { if (!stop.signal.aborted) lines.value = [`The log could not be read: ${messageOf(cause)}`]; });
    return () => stop.abort();
  }, [id]);
  return lines.value === null ? <Skeletons rows={3} label="Loading the last lines" /> : <pre class="code" tabIndex={0} aria-label="Last lines of its log">{lines.value.join("\n") || "nothing was written"}</pre>;
}

/** What looks like a secret in a command line is not shown. */
export const hidden = (cmd: string): string => cmd.replace(/(--?[\w-]*(?:key|token|secret|password)[\w-]*[= ]+)(\S+)/gi, "$1[hidden]");

function modelSection(value: unknown, id: string): unknown {
  const raw = value as { config?: unknown; effective?: unknown; models?: unknown };
  const root = (raw.config ?? raw.effective ?? raw) as { models?: Record<string, unknown> };
  return typeof root === "object" && root ? root.models?.[id] : undefined;
}

function loadTimes(id: string): number[] {
  const times: number[] = [];
  let began = 0;
  for (const change of changes.value) {
    if (change.model !== id) continue;
    if (change.to === "starting") began = change.at;
    else if (change.to === "ready" && began) times.push((change.at - began) / 1000);
  }
  return times.slice(-5).reverse();
}
