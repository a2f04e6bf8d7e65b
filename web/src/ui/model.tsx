// How a model looks wherever it appears: its state, its actions, its facts.
import { Component } from "preact";
import { cancelRequest, cancelling, failures, load, loading, unload } from "../state/actions";
import { inflightByModel, lastUsed, modelMemory, online } from "../state/live";
import { bytes, memory, span } from "../lib/format";
import type { Inflight, Model } from "../wire/types";
import { href, modelHref } from "../state/router";
import { idPath, url } from "../wire/api";
import { Button, State } from "./basics";
import { Icon } from "./icons";
import { tick } from "./ticker";

export const OFFLINE = "Not connected to the server";

const FAILED = (model: Model): boolean =>
  (model.state === "stopped" || model.state === "") && !model.peerID && (model.last_error !== undefined || failures.value.has(model.id));

export function secondsSince(since: string | undefined): number | null {
  const at = since ? Date.parse(since) : NaN;
  return Number.isNaN(at) ? null : Math.max(0, (Date.now() - at) / 1000);
}

/** What a model's state is called, in words only. */
export function stateWords(model: Model): string {
  const busy = inflightByModel.value.get(model.id) ?? 0;
  if (model.peerID) return "Remote";
  switch (model.state) {
    case "ready":
      return busy ? `Busy · ${busy}` : "Ready";
    case "starting":
      return "Starting";
    case "stopping":
      return "Stopping";
    case "shutdown":
      return "Shut down";
    case "stopped":
      if (FAILED(model)) return model.last_error?.exit_code === undefined ? "Failed" : `Failed · exit ${model.last_error.exit_code}`;
      return loading.value.has(model.id) ? "Queued" : "Stopped";
    default:
      return "Unknown";
  }
}

export function ModelState({ model }: { model: Model }) {
  const words = stateWords(model);
  if (model.peerID) return <State tone="idle" mark="dash">{words}</State>;
  switch (model.state) {
    case "ready":
      return <State tone="ok" mark="disc">{words}</State>;
    case "starting":
      return <Starting model={model} />;
    case "stopping":
      return <State tone="busy" mark="half">{words}</State>;
    case "shutdown":
      return <State tone="idle" mark="cross">{words}</State>;
    case "stopped":
      if (FAILED(model)) return <State tone="bad" mark="triangle" title={failureText(model)}>{words}</State>;
      if (loading.value.has(model.id)) return <State tone="info" mark="diamond">{words}</State>;
      return <State tone="idle" mark="ring">{words}</State>;
    default:
      return <State tone="idle" mark="dash">{words}</State>;
  }
}

export const failureText = (model: Model): string => model.last_error?.message || failures.value.get(model.id) || "";

function Starting({ model }: { model: Model }) {
  void tick.value;
  const elapsed = secondsSince(model.since);
  const usual = model.load_ms_p50 ? model.load_ms_p50 / 1000 : null;
  const part = usual && elapsed !== null ? Math.min(0.95, elapsed / usual) : null;
  const text = elapsed === null ? "Starting" : usual ? `Starting · ${span(elapsed)} of ~${span(usual)}` : `Starting · ${span(elapsed)}`;
  return (
    <span class="state busy">
      <svg viewBox="0 0 12 12" aria-hidden="true" data-mark="arc">
        <circle cx="6" cy="6" r="4.500" fill="none" stroke="var(--line)" stroke-width="2" />
        <circle cx="6" cy="6" r="4.500" fill="none" stroke="currentColor" stroke-width="2" transform="rotate(-90 6 6)" stroke-dasharray={`${28.3 * (part ?? 0.3)} 28.300`} />
      </svg>
      {text}
    </span>
  );
}

export function Ttl({ model }: { model: Model }) {
  if (model.peerID || model.ttl_s === undefined) return <span class="muted">–</span>;
  if (model.ttl_s <= 0) return <span class="muted">stays loaded</span>;
  if (model.state !== "ready") return <span class="muted">{span(model.ttl_s)}</span>;
  if (inflightByModel.value.get(model.id)) return <span class="muted">in use</span>;
  void tick.value;
  const used = lastUsed.value.get(model.id) ?? 0;
  const expires = Math.max(model.ttl_expires ? Date.parse(model.ttl_expires) : 0, used ? used + model.ttl_s * 1000 : 0);
  if (!expires) return <span class="muted">{span(model.ttl_s)}</span>;
  return <span class="num nowrap" title="until it is unloaded for want of requests">{span((expires - Date.now()) / 1000)} left</span>;
}

export function memoryText(model: Model): string {
  const measured = model.state === "ready" || model.state === "starting" ? modelMemory.value.get(model.id) : undefined;
  const video = model.vram_mb ?? measured?.vram_mb ?? 0;
  const main = model.rss_mb ?? measured?.rss_mb ?? 0;
  return [video ? `${memory(video)} VRAM` : "", main ? `${memory(main)} RAM` : ""].filter(Boolean).join(" · ");
}

/** Why the share of a model in the memory of the cards is not known. */
export const memoryReason = (model: Model): string => modelMemory.value.get(model.id)?.reason || "no process, or the driver does not tell what each process takes";

/** Load, Cancel load, Unload or Retry: what the state allows. */
export function ModelActions({ model }: { model: Model }) {
  if (model.peerID) return null;
  const off = !online.value;
  const reason = off ? OFFLINE : undefined;
  const name = model.name || model.id;
  switch (model.state) {
    case "ready":
      return <Button small icon="power" disabled={off} reason={reason} onClick={() => void unload(model)}><span>Unload<span class="visually-hidden"> {name}</span></span></Button>;
    case "starting":
      return <Button small icon="close" disabled={off} reason={reason} onClick={() => void unload(model)}><span>Cancel load<span class="visually-hidden"> of {name}</span></span></Button>;
    case "stopped": {
      const failed = FAILED(model);
      const waiting = loading.value.has(model.id);
      return (
        <span class="row">
          <Button small icon={failed ? "refresh" : "play"} disabled={off || waiting} reason={reason} onClick={() => void load(model)}><span>{failed ? "Retry" : "Load"}<span class="visually-hidden"> {name}</span></span></Button>
          {failed && <a class="button small" href={`${modelHref(model.id)}?tab=logs`}>View log</a>}
        </span>
      );
    }
    case "stopping":
      return <Button small disabled>Stopping</Button>;
    default:
      return null;
  }
}

/** The model's own pages, on its own server, through the proxy. */
export function ServerLink({ model }: { model: Model }) {
  if (model.peerID) return null;
  const path = model.id === "comfyui_auto" ? "/comfyui/" : `/upstream/${idPath(model.id)}/`;
  return (
    <a class="button quiet small icon-only" href={url(path)} target="_blank" rel="noopener" title="Open the model's own server (loads it)" aria-label={`Open the server of ${model.name || model.id}`}>
      <Icon name="open" />
    </a>
  );
}

export function Elapsed({ request }: { request: Inflight }) {
  const now = Math.max(tick.value, performance.now());
  return <span class="num">{((request.elapsed_ms + Math.max(0, now - request.received_at)) / 1000).toFixed(2)}s</span>;
}

export function CancelButton({ request }: { request: Inflight }) {
  return <Button small kind="quiet" icon="close" label={`Cancel request ${request.id}`} disabled={!online.value || cancelling.value.has(request.id)} onClick={() => void cancelRequest(request.id)} />;
}

/** A component that is drawn again only when its model is another object. */
export abstract class ModelComponent<P extends { model: Model }> extends Component<P> {
  override shouldComponentUpdate(next: P): boolean {
    for (const key in next) if (next[key] !== this.props[key]) return true;
    return false;
  }
}

export const modelName = (model: Model): string => model.name || model.id;
export const activityOf = (model: Model): string => href(`activity?model=${encodeURIComponent(model.id)}`);
export { bytes };
