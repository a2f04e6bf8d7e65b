// The list of models for the playground, fetched while it is shown, and the field that finds in it.
import { signal, useSignal, useSignalEffect } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import { api } from "../../wire/api";
import type { ListRecord } from "../../wire/types";
import { configRevision, connections, models, modelsRevision } from "../../state/live";
import { Button, Empty, State } from "../../ui/basics";
import { Icon } from "../../ui/icons";

export const records = signal<ListRecord[] | null>(null);
const problem = signal("");
let asking = false;
let again = false;
let timer: ReturnType<typeof setTimeout> | undefined;

export function refresh(): void {
  clearTimeout(timer);
  timer = setTimeout(() => void ask(), records.peek() === null ? 0 : 200);
}

async function ask(): Promise<void> {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  const revision = modelsRevision.peek();
  try {
    const got = await api.models();
    if (revision >= modelsRevision.peek() || records.peek() === null) records.value = got;
    else again = true;
    problem.value = "";
  } catch (error) {
    problem.value = error instanceof Error ? error.message : String(error);
  }
  asking = false;
  if (again) {
    again = false;
    refresh();
  }
}

export function usePicker(): void {
  useSignalEffect(() => {
    void modelsRevision.value;
    void connections.value;
    void configRevision.value;
    refresh();
  });
}

export const exists = (id: string): boolean => (records.value ?? []).some((record) => record.id === id || record.aliases.includes(id)) || (models.value ?? []).some((model) => model.id === id || model.aliases.includes(id));

/** Why nothing can be sent to `id`, or nothing. */
export function whyNot(id: string): string {
  if (!id) return "Choose a model first";
  if (records.value !== null && !exists(id)) return `${id} is no longer configured: choose another model`;
  return "";
}

interface Option {
  id: string;
  text: string;
  alias: boolean;
  record: ListRecord;
}

/** Every word of the query in the name, the id or an alias. */
function found(query: string, ...names: string[]): boolean {
  const hay = names.join("\n").toLowerCase();
  return query.toLowerCase().split(/\s+/).every((word) => hay.includes(word));
}

function optionsOf(record: ListRecord, query: string): Option[] {
  const whole = found(query, record.id, record.name);
  const own: Option = { id: record.id, text: record.name || record.id, alias: false, record };
  const aliases = record.aliases.filter((alias) => whole || found(query, alias)).map((alias): Option => ({ id: alias, text: alias, alias: true, record }));
  return whole || aliases.length ? [own, ...aliases] : [];
}

function groups(capabilities: string[], query: string): [string, Option[]][] {
  const all = records.value ?? [];
  const fits = (record: ListRecord) => capabilities.some((name) => record.capabilities[name]);
  const matching = all.filter((record) => record.type === "model" && fits(record));
  const rest = all.filter((record) => record.type === "model" && !matching.includes(record));
  const lists: [string, ListRecord[]][] = [
    ["Profile", all.filter((record) => record.type === "profile")],
    ["Matching capabilities", [...matching].sort((a, b) => Number(b.loaded) - Number(a.loaded))],
    ["Selectors", all.filter((record) => record.type === "selector")],
    ["Local, loaded", rest.filter((record) => record.loaded)],
    ["Local", rest.filter((record) => !record.loaded)],
    ["Peers", all.filter((record) => record.type === "peer")],
  ];
  return lists.map(([name, list]): [string, Option[]] => [name, list.flatMap((record) => optionsOf(record, query))]).filter(([, list]) => list.length > 0);
}

const nameOf = (id: string): string => (records.value ?? []).find((record) => record.id === id)?.name || id;

let numbers = 0;

/** A text field that finds models: type, arrows, Enter; Esc leaves what was chosen. */
export function Picker({ value, onChange, capabilities = [], disabled = false, label = "Model" }: { value: string; onChange: (id: string) => void; capabilities?: string[]; disabled?: boolean; label?: string }) {
  const written = useSignal<string | null>(null); // null: closed
  const at = useSignal(0);
  const own = useMemo(() => `picker-${(numbers += 1)}`, []);
  const input = useRef<HTMLInputElement>(null);
  if (problem.value && !records.value) return <span class="row"><span class="error-line">{problem.value}</span><Button small onClick={refresh}>Retry</Button></span>;
  const list = records.value;
  const missing = value !== "" && list !== null && !exists(value);
  const current = (models.value ?? []).find((model) => model.id === value || model.aliases.includes(value));
  const open = written.value !== null;
  const shown = open ? groups(capabilities, written.value!.trim()) : [];
  const flat = shown.flatMap(([, options]) => options);
  const marked = flat[Math.min(at.value, flat.length - 1)];
  const show = () => {
    if (open || disabled || list === null) return;
    written.value = "";
    at.value = Math.max(0, groups(capabilities, "").flatMap(([, options]) => options).findIndex((option) => option.id === value));
  };
  const close = () => (written.value = null);
  const choose = (id: string) => {
    close();
    if (id !== value) onChange(id);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (by !== undefined) {
      if (open) at.value = Math.max(0, Math.min(flat.length - 1, at.value + by));
      else show();
      requestAnimationFrame(() => document.getElementById(own)?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" }));
    } else if (event.key === "Enter" && open) {
      if (marked) choose(marked.id);
    } else if (event.key === "Escape" && open) close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <span class="picker">
      <span class="combo">
        <input ref={input} type="text" role="combobox" autocomplete="off" spellcheck={false} aria-label={label} aria-expanded={open} aria-autocomplete="list"
          aria-controls={open ? own : undefined} aria-activedescendant={open && marked ? `${own}-${flat.indexOf(marked)}` : undefined}
          placeholder={list === null ? "Loading models…" : open ? "Type to search" : "Choose a model…"} title={value || undefined}
          value={open ? written.value! : missing ? `${value} (missing)` : nameOf(value)} disabled={disabled || list === null}
          onClick={show} onInput={(event) => { written.value = event.currentTarget.value; at.value = 0; }} onKeyDown={onKeyDown} onBlur={close} />
        {value !== "" && !open && !disabled && <button type="button" class="button quiet small icon-only" aria-label={`Clear ${label.toLowerCase()}`} title="Choose none" onClick={() => onChange("")}><Icon name="close" /></button>}
        {open && (
          <div class="options" role="listbox" tabIndex={-1} id={own} aria-label={label} onMouseDown={(event) => event.preventDefault()}>
            {flat.length === 0 && <div class="muted" role="option" aria-selected="false" aria-disabled="true">{list!.length ? "Nothing matches" : "No models configured"}</div>}
            {shown.map(([name, options]) => (
              <div key={name} role="group" aria-label={name}>
                <div class="caption muted" role="presentation">{name}</div>
                {options.map((option) => {
                  const i = flat.indexOf(option);
                  return <div key={option.id} id={`${own}-${i}`} role="option" tabIndex={-1} aria-selected={option === marked} onClick={() => choose(option.id)}><ModelOption option={option} /></div>;
                })}
              </div>
            ))}
          </div>
        )}
      </span>
      {missing ? <State tone="bad" mark="triangle">no longer configured</State> : current && !current.peerID && current.state !== "stopped" ? <State tone={current.state === "ready" ? "ok" : "busy"} mark={current.state === "ready" ? "disc" : "arc"}>{current.state === "ready" ? "loaded" : current.state}</State> : null}
    </span>
  );
}

function ModelOption({ option: { text, alias, record } }: { option: Option }) {
  const live = (models.value ?? []).find((model) => model.id === record.id);
  const loaded = live ? live.state === "ready" : record.loaded;
  return (
    <>
      <span class="cut">{alias ? `↳ ${text}` : text}</span>
      <span class="push muted small nowrap">
        {record.type === "selector" ? record.strategy : record.type === "peer" ? record.peerID : !alias && record.name && record.name !== record.id ? record.id : ""}
      </span>
      {!alias && record.type === "model" && <State tone={loaded ? "ok" : "idle"} mark={loaded ? "disc" : "ring"}><span class="visually-hidden">{loaded ? "loaded" : "not loaded"}</span></State>}
    </>
  );
}

export const NoModels = () => (records.value !== null && records.value.length === 0 ? <Empty>No models configured. Add one to the configuration file to try it here.</Empty> : null);
