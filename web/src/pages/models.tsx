// Every configured model and its state; load and unload.
import { computed, signal, useSignal, useSignalEffect } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { api } from "../wire/api";
import { naturally } from "../wire/decode";
import type { ListRecord, Model } from "../wire/types";
import { activeProfile, activityRevision, inflightByModel, lastUsed, localModels, models, modelsRevision, online, peerModels, configRevision } from "../state/live";
import { activate, load, profiles, switching, unload, unloadAll, unloadingAll } from "../state/actions";
import { prefs, setPref } from "../state/prefs";
import { go, modelHref, route, setQuery } from "../state/router";
import { arranged } from "../lib/columns";
import { absolute, CAPABILITIES, contextLength, plural, relative } from "../lib/format";
import { throttled } from "../lib/throttle";
import { Button, Card, Check, Chip, Empty, Select, Skeletons } from "../ui/basics";
import { ColumnMenu } from "../ui/columnmenu";
import { Icon } from "../ui/icons";
import { memoryReason, memoryText, ModelActions, ModelComponent, modelName, ModelState, OFFLINE, ServerLink, Ttl, failureText } from "../ui/model";
import { ColumnHead, SizedTable } from "../ui/sizedtable";
import { slowTick } from "../ui/ticker";

const records = signal<ListRecord[]>([]);
let asking = false;
let again = false;
let timer: ReturnType<typeof setTimeout> | undefined;

/** 200 ms after a change; one request at a time, and one more if something changed meanwhile. */
export function refreshRecords(): void {
  clearTimeout(timer);
  timer = setTimeout(() => void askRecords(), 200);
}
async function askRecords(): Promise<void> {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    records.value = await api.models();
  } catch {
    // the last list stays; the next change asks again
  }
  asking = false;
  if (again) {
    again = false;
    refreshRecords();
  }
}

const ORDER: Record<string, number> = { ready: 0, starting: 1, stopping: 2, stopped: 3, shutdown: 4 };

function matches(model: Model, query: string): boolean {
  if (!query) return true;
  const labels = CAPABILITIES.filter(([key]) => model.capabilities[key]).map(([, label]) => label);
  const hay = [model.id, model.name, model.description, model.peerID, ...model.aliases, ...labels, ...Object.keys(model.capabilities)].join("\n").toLowerCase();
  return query.toLowerCase().split(/\s+/).every((word) => hay.includes(word));
}

/** Of the last recorded requests, as many as one page of the activity takes. */
const RECENT = 999;
/** How often each model was asked in them; only known while models are sorted by it. */
const requestsOf = signal<ReadonlyMap<string, number>>(new Map());

async function countRequests(): Promise<void> {
  if (prefs.peek().modelSort !== "most") return;
  try {
    const counts = new Map<string, number>();
    for (const row of (await api.activity(new URLSearchParams({ limit: String(RECENT) }))).data) counts.set(row.model, (counts.get(row.model) ?? 0) + 1);
    requestsOf.value = counts;
  } catch {
    // the order stays as it was; the next request asks again
  }
}
const countSoon = throttled(() => void countRequests(), 10_000);

const view = computed(() => {
  const query = route.value.query.get("q") ?? "";
  const all = localModels.value;
  const hidden = prefs.value.unlisted ? 0 : all.filter((model) => model.unlisted).length;
  const listed = prefs.value.unlisted ? [...all] : all.filter((model) => !model.unlisted);
  const pinned = new Set(prefs.value.pinned);
  const sort = prefs.value.modelSort;
  const busy = inflightByModel.value;
  listed.sort((a, b) => {
    const first = Number(pinned.has(b.id)) - Number(pinned.has(a.id));
    if (first) return first;
    if (sort === "state") return (ORDER[a.state] ?? 9) - (ORDER[b.state] ?? 9) || (busy.get(b.id) ?? 0) - (busy.get(a.id) ?? 0) || 0;
    if (sort === "used") return usedAt(b) - usedAt(a);
    if (sort === "most") return (requestsOf.value.get(b.id) ?? 0) - (requestsOf.value.get(a.id) ?? 0);
    return 0;
  });
  const found = new Set<Model>();
  for (const model of [...listed, ...peerModels.value]) if (matches(model, query)) found.add(model);
  return { listed, found, shown: listed.filter((model) => found.has(model)).length, total: all.length, hidden, query };
});

export default function Models() {
  useSignalEffect(() => {
    void modelsRevision.value;
    void configRevision.value;
    refreshRecords();
  });
  const sort = prefs.value.modelSort;
  useEffect(() => {
    if (sort !== "most") return;
    void countRequests();
    return activityRevision.subscribe((revision) => revision && countSoon());
  }, [sort]);
  const { listed, found, shown, total, hidden, query } = view.value;
  const ready = localModels.value.filter((model) => model.state === "ready").length;
  const running = localModels.value.some((model) => model.state === "ready" || model.state === "starting");
  const selectors = records.value.filter((record) => record.type === "selector");
  if (models.value === null) return <><div class="page-head"><h1 tabIndex={-1}>Models</h1></div><Card><Skeletons rows={8} label="Loading models" /></Card></>;
  return (
    <>
      <div class="page-head">
        <h1 tabIndex={-1}>Models</h1>
        <span class="muted">{shown} of {total} · {ready} ready</span>
        <span class="push" />
        <Button icon="power" disabled={!running || unloadingAll.value || !online.value} reason={online.value ? undefined : OFFLINE} onClick={() => void unloadAll()}>Unload all</Button>
      </div>
      {profiles.value.length > 0 && <ProfilesCard />}
      {selectors.length > 0 && <Selectors selectors={selectors} />}
      <div class="filters">
        <div class="grow"><input data-filter type="search" aria-label="Filter models" placeholder="Filter by name, alias, description, capability  ( / )" value={query} onInput={(event) => setQuery({ q: event.currentTarget.value })} onKeyDown={(event) => { if (event.key === "Escape") { setQuery({ q: null }); event.currentTarget.blur(); } }} /></div>
        <div><Select label="Sort" value={prefs.value.modelSort} options={[["name", "By name"], ["state", "By state"], ["used", "By last use"], ["most", "By most used"]]} onChange={(value) => setPref("modelSort", value as "name")} /></div>
        <div><Select label="Group" value={prefs.value.modelGroup} options={[["none", "No groups"], ["group", "By group or set"], ["capability", "By capability"]]} onChange={(value) => setPref("modelGroup", value as "none")} /></div>
        <ColumnMenu table="models" all={BETWEEN} titles={TITLES} wish={wish.value} label="Columns of models" onChange={(next) => setPref("listColumns", next)} />
        <Check label={`Unlisted${hidden ? ` (${hidden} hidden)` : ""}`} checked={prefs.value.unlisted} onChange={(on) => setPref("unlisted", on)} />
      </div>
      {shown === 0 && (
        <Card>{total === 0 ? <Empty>No models are configured. Add a <code>models:</code> section to the configuration file; <code>python -m llamaswap init DIR</code> writes one for a folder of models.</Empty> : <Empty>No model matches. <Button small onClick={() => setQuery({ q: null })}>Clear filter</Button></Empty>}</Card>
      )}
      {grouped(listed, prefs.value.modelGroup).map(([name, members]) => <Group key={name} name={name} models={members} found={found} />)}
      {[...byPeer.value].map(([peer, members]) => <Group key={`peer ${peer}`} name={`Peer ${peer}`} models={members} found={found} peers />)}
    </>
  );
}

const byPeer = computed(() => {
  const peers = new Map<string, Model[]>();
  for (const model of peerModels.value) peers.set(model.peerID, [...(peers.get(model.peerID) ?? []), model]);
  return peers;
});

/** The list in parts: a model of several sets or capabilities is in each of them. */
function grouped(list: Model[], by: "none" | "group" | "capability"): [string, Model[]][] {
  if (by === "none") return [["", list]];
  const parts = new Map<string, Model[]>();
  for (const model of list) {
    const names = by === "group" ? (model.sets?.length ? model.sets : [model.group ?? ""]) : CAPABILITIES.filter(([key]) => model.capabilities[key]).map(([, label]) => label);
    for (const name of names.length ? names : [""]) {
      const part = parts.get(name);
      if (part) part.push(model);
      else parts.set(name, [model]);
    }
  }
  const title = (name: string) => name || (by === "group" ? "In no set" : "No capabilities reported");
  return [...parts].sort(([a], [b]) => Number(!a) - Number(!b) || naturally(a, b)).map(([name, members]) => [title(name), members]);
}

interface Part {
  models: Model[];
  /** What the filter lets through. The others stay in the page, hidden: to bring three hundred rows back is then no work. */
  found: ReadonlySet<Model>;
  peers?: boolean;
}

function Group({ name, models: members, found, peers = false }: Part & { name: string }) {
  const shown = members.filter((model) => found.has(model));
  if (!name) return <section class="card" hidden={!shown.length}><ModelTable label="Models" models={members} found={found} /></section>;
  const { foldedGroups } = prefs.value;
  const folded = foldedGroups.includes(name);
  const ready = shown.filter((model) => model.state === "ready").length;
  return (
    <section class="card" aria-label={name} hidden={!shown.length}>
      <header>
        <Button kind="quiet" small icon={folded ? "right" : "down"} label={`${folded ? "Show" : "Fold"} ${name}`} expanded={!folded} onClick={() => setPref("foldedGroups", folded ? foldedGroups.filter((item) => item !== name) : [...foldedGroups, name])} />
        <h2>{name}</h2>
        <span class="push muted small">{plural(shown.length, "model")}{ready > 0 && ` · ${ready} ready`}</span>
      </header>
      {!folded && <ModelTable label={name} models={members} found={found} peers={peers} />}
    </section>
  );
}

/** Rows that are added in one frame: many at once would hold up what is being typed. */
const AT_ONCE = 25;

/** The rows that are there already and so many new ones, those that are shown first; the next frame brings more. */
function useGradually(wanted: Model[], found: ReadonlySet<Model>): Model[] {
  const there = useRef<ReadonlySet<string>>(new Set());
  const room = useRef(AT_ONCE);
  const frame = useSignal(0);
  void frame.value;
  const taken = new Set(wanted.filter((model) => there.current.has(model.id)));
  for (const seen of [true, false])
    for (const model of wanted) if (room.current > 0 && found.has(model) === seen && !taken.has(model)) {
      taken.add(model);
      room.current -= 1;
    }
  const rows = wanted.filter((model) => taken.has(model));
  there.current = new Set(rows.map((model) => model.id));
  const behind = rows.length < wanted.length;
  useEffect(() => {
    if (!behind) return;
    const next = requestAnimationFrame(() => {
      room.current = AT_ONCE;
      frame.value += 1;
    });
    return () => cancelAnimationFrame(next);
  });
  return rows;
}

const TITLES: Record<string, string> = { model: "Model", state: "State", ttl: "TTL", memory: "Memory", context: "Context", used: "Last used", actions: "Actions" };
const TRACKS: Record<string, string> = { model: "minmax(0, 2.4fr)", state: "minmax(0, 1.2fr)", ttl: "minmax(0, .7fr)", memory: "minmax(0, 1fr)", context: "minmax(0, .6fr)", used: "minmax(0, .8fr)", actions: "208px" };
/** Those that can be hidden and moved: the model stands first, what can be done with it last. */
const BETWEEN = ["state", "ttl", "memory", "context", "used"];
const wish = computed(() => prefs.value.listColumns);
const ids = computed(() => ["model", ...arranged(BETWEEN, wish.value).filter((column) => column.visible).map((column) => column.id), "actions"]);
/** What is known of a model that another server runs; its columns stand below those of our own. */
const PEER_IDS = ["model", "state", "context"];
const PEER_TRACKS = "minmax(0, 2.4fr) minmax(0, 1.2fr) minmax(0, 2.3fr) minmax(0, .8fr) 208px";

/** By which columns the list can be sorted; each in the one direction that is of use. */
const SORTS: Record<string, readonly ["name" | "state" | "used", "asc" | "desc"]> = { model: ["name", "asc"], state: ["state", "asc"], used: ["used", "desc"] };

function sortOf(id: string) {
  const sort = SORTS[id];
  return sort && { order: prefs.value.modelSort === sort[0] ? sort[1] : null, onClick: () => setPref("modelSort", sort[0]) };
}

function ModelTable({ models: all, found, label, peers = false }: Part & { label: string }) {
  const { pinned, capabilityTags } = prefs.value;
  const rows = useGradually(all, found);
  const columns = peers ? PEER_IDS : ids.value;
  return (
    <SizedTable name={peers ? "peers" : "models"} ids={columns} label={label} class="models cards" tracks={peers ? PEER_TRACKS : columns.map((id) => TRACKS[id]).join(" ")}>
      <thead><tr>{columns.map((id) => <ColumnHead key={id} id={id} title={TITLES[id]!} numeric={id === "context"} sort={peers ? undefined : sortOf(id)} />)}</tr></thead>
      <tbody>{rows.map((model) => <Row key={model.id} model={model} off={!found.has(model)} columns={columns} pinned={pinned.includes(model.id)} tags={capabilityTags} />)}</tbody>
    </SizedTable>
  );
}

class Row extends ModelComponent<{ model: Model; off: boolean; columns: readonly string[]; pinned: boolean; tags: boolean }> {
  /** Whether a card on a small screen shows all its fields. */
  readonly open = signal(false);
  /** Bound to the element itself: a row that comes or goes is not drawn anew. */
  readonly off = signal(this.props.off);

  override shouldComponentUpdate(next: Row["props"]): boolean {
    this.off.value = next.off;
    return super.shouldComponentUpdate({ ...next, off: this.props.off });
  }

  render(): JSX.Element {
    const { model, columns } = this.props;
    return (
      <tr hidden={this.off} tabIndex={0} data-model={model.id} class={this.open.value ? "open" : ""} onKeyDown={(event) => rowKey(event, model)}>
        {columns.map((id) => this.cell(id))}
      </tr>
    );
  }

  cell(id: string): JSX.Element {
    const { model } = this.props;
    switch (id) {
      case "model":
        return <td key={id} class="main desc">{this.about()}</td>;
      case "state":
        return <td key={id}><ModelState model={model} />{failureText(model) && model.state === "stopped" && <div class="error-line clamp" title={failureText(model)}>{failureText(model)}</div>}</td>;
      case "ttl":
        return <td key={id} class="extra" data-label="TTL"><Ttl model={model} /></td>;
      case "memory":
        return <td key={id} class="extra" data-label="Memory"><MemoryCell model={model} /></td>;
      case "context":
        return <td key={id} class="num extra" data-label="Context">{contextLength(model.context_length) || <span class="muted">–</span>}</td>;
      case "used":
        return <td key={id} class="extra" data-label="Last used"><LastUsed model={model} /></td>;
      default:
        return <td key={id} class="main"><div class="row wrap"><ModelActions model={model} /><ServerLink model={model} /><span class="narrow-only"><Button small kind="quiet" icon={this.open.value ? "up" : "down"} expanded={this.open.value} label={`More about ${modelName(model)}`} onClick={() => (this.open.value = !this.open.value)} /></span></div></td>;
    }
  }

  about(): JSX.Element {
    const { model, pinned, tags } = this.props;
    const aliases = model.aliases.length ? ` · ${model.aliases.join(", ")}` : "";
    return (
      <div class="row">
        {!model.peerID && <button type="button" class="button quiet small icon-only" aria-pressed={pinned} title={pinned ? "Unpin" : "Pin"} aria-label={`${pinned ? "Unpin" : "Pin"} ${modelName(model)}`} style={{ color: pinned ? "var(--accent)" : "var(--muted)" }} onClick={() => togglePin(model.id)}><Icon name="pin" /></button>}
        <div class="name">
          <a class="strong cut" href={modelHref(model.id)} title={model.id}>{modelName(model)}</a>
          {(model.name || aliases) && <span class="muted caption cut" title={model.id + aliases}>{model.id}{aliases}</span>}
          {model.description && <span class="muted small clamp" title={model.description}>{model.description}</span>}
          {(model.unlisted || (tags && Object.keys(model.capabilities).length > 0)) && <span class="row wrap">{model.unlisted && <span class="tag">unlisted</span>}{tags && <Tags model={model} />}</span>}
        </div>
      </div>
    );
  }
}

function MemoryCell({ model }: { model: Model }) {
  const text = memoryText(model);
  if (text) return <span title={text.includes("VRAM") ? undefined : `VRAM unknown: ${memoryReason(model)}`}>{text}</span>;
  return <span class="muted" title={model.state === "ready" ? memoryReason(model) : undefined}>{model.state === "ready" ? "unknown" : "–"}</span>;
}

const usedAt = (model: Model): number => Math.max(lastUsed.value.get(model.id) ?? 0, model.last_used ? Date.parse(model.last_used) : 0);

function LastUsed({ model }: { model: Model }) {
  void slowTick.value;
  if (inflightByModel.value.get(model.id)) return <span>now</span>;
  const at = usedAt(model);
  return at ? <span title={absolute(at)}>{relative(new Date(at).toISOString())}</span> : <span class="muted">–</span>;
}

export function Tags({ model }: { model: { capabilities: Record<string, boolean>; context_length: number } }) {
  return <>{CAPABILITIES.filter(([key]) => model.capabilities[key]).map(([key, label]) => <span class="tag" key={key}>{label}</span>)}{model.context_length > 0 && <span class="tag">{contextLength(model.context_length)}</span>}</>;
}

function togglePin(id: string): void {
  const pinned = prefs.value.pinned;
  setPref("pinned", pinned.includes(id) ? pinned.filter((item) => item !== id) : [...pinned, id]);
}

function rowKey(event: KeyboardEvent, model: Model): void {
  if (event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter") go(modelHref(model.id));
  else if (!prefs.peek().keys || model.peerID) return;
  else if (event.key === "l" && model.state === "stopped") void load(model);
  else if (event.key === "u" && (model.state === "ready" || model.state === "starting")) void unload(model);
}

function ProfilesCard() {
  const known = new Set((models.value ?? []).map((model) => model.id));
  return (
    <Card title="Profiles" actions={<span class="muted small">{activeProfile.value ? "" : "No active profile"}</span>}>
      <div class="body grid3">
        {profiles.value.map((profile) => {
          const active = profile.id === activeProfile.value;
          const pins = Object.entries(profile.pins).sort(([a], [b]) => naturally(a, b));
          return (
            <div class="tight" key={profile.id}>
              <div class="row wrap"><span class="strong">{profile.id}</span>{active && <Chip tone="ok">Active</Chip>}<span class="muted small">{plural(pins.length, "mapping")}</span><span class="push" /><Button small disabled={switching.value || !online.value} onClick={() => void activate(active ? null : profile.id)}>{active ? "Deactivate" : "Activate"}</Button></div>
              {profile.description && <p class="muted small">{profile.description}</p>}
              <ul class="small">{pins.map(([pin, target]) => <li key={pin}>{pin} → {target === "" ? <Chip>disabled</Chip> : known.has(target) ? <a href={modelHref(target)}>{target}</a> : target}</li>)}</ul>
            </div>
          );
        })}
      </div>
    </Card>
  );
}

function Selectors({ selectors }: { selectors: ListRecord[] }) {
  const ready = new Set(localModels.value.filter((model) => model.state === "ready").map((model) => model.id));
  return (
    <Card title="Selectors">
      <ul class="body tight">
        {selectors.map((selector) => (
          <li key={selector.id} class="row wrap">
            <span class="strong">{selector.id}{selector.name ? ` - ${selector.name}` : ""}</span>
            <Chip tone="info">{selector.strategy}</Chip>
            {selector.strategy === "spillover" && selector.spillover > 0 && <Chip>spillover {selector.spillover}</Chip>}
            {selector.description && <span class="muted small">{selector.description}</span>}
            <span class="row wrap">{selector.targets.map((target, i) => <span key={target} class="row">{i > 0 && <span class="muted">→</span>}<a href={modelHref(target)}>{target}</a>{ready.has(target) && <Chip tone="ok">loaded</Chip>}</span>)}</span>
          </li>
        ))}
      </ul>
    </Card>
  );
}
