// The list of models for the playground, fetched while it is shown, and the select that offers it.
import { signal, useSignalEffect } from "@preact/signals";
import { api } from "../../wire/api";
import type { ListRecord } from "../../wire/types";
import { configRevision, connections, models, modelsRevision } from "../../state/live";
import { Button, Empty, State } from "../../ui/basics";

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

function groups(capabilities: string[]): [string, ListRecord[]][] {
  const all = records.value ?? [];
  const fits = (record: ListRecord) => capabilities.some((name) => record.capabilities[name]);
  const matching = all.filter((record) => record.type === "model" && fits(record));
  const rest = all.filter((record) => record.type === "model" && !matching.includes(record));
  const found: [string, ListRecord[]][] = [
    ["Profile", all.filter((record) => record.type === "profile")],
    ["Matching capabilities", matching],
    ["Selectors", all.filter((record) => record.type === "selector")],
    ["Local, loaded", rest.filter((record) => record.loaded)],
    ["Local", rest.filter((record) => !record.loaded)],
    ["Peers", all.filter((record) => record.type === "peer")],
  ];
  return found.filter(([, list]) => list.length > 0);
}

export function Picker({ value, onChange, capabilities = [], disabled = false, label = "Model" }: { value: string; onChange: (id: string) => void; capabilities?: string[]; disabled?: boolean; label?: string }) {
  if (problem.value && !records.value) return <span class="row"><span class="error-line">{problem.value}</span><Button small onClick={refresh}>Retry</Button></span>;
  const list = records.value;
  const missing = value !== "" && list !== null && !exists(value);
  const current = (models.value ?? []).find((model) => model.id === value || model.aliases.includes(value));
  return (
    <span class="picker">
      <select aria-label={label} value={value} disabled={disabled || list === null} onChange={(event) => onChange(event.currentTarget.value)}>
        <option value="">{list === null ? "Loading models…" : "Choose a model…"}</option>
        {missing && <option value={value}>{value} (missing)</option>}
        {groups(capabilities).map(([name, members]) => (
          <optgroup key={name} label={name}>
            {members.flatMap((record) => [
              <option key={record.id} value={record.id}>{record.loaded ? "● " : ""}{record.name || record.id}{record.type === "selector" ? ` (${record.strategy})` : ""}</option>,
              ...record.aliases.map((alias) => <option key={`${record.id}/${alias}`} value={alias}>{`\u00a0\u00a0↳ ${alias}`}</option>),
            ])}
          </optgroup>
        ))}
      </select>
      {missing ? <State tone="bad" mark="triangle">no longer configured</State> : current && !current.peerID && current.state !== "stopped" ? <State tone={current.state === "ready" ? "ok" : "busy"} mark={current.state === "ready" ? "disc" : "arc"}>{current.state === "ready" ? "loaded" : current.state}</State> : null}
    </span>
  );
}

export const NoModels = () => (records.value !== null && records.value.length === 0 ? <Empty>No models configured. Add one to the configuration file to try it here.</Empty> : null);
