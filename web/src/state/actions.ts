// What the buttons do to the server, with the questions before and the words after.
import { signal } from "@preact/signals";
import { api, ApiError, postJson } from "../wire/api";
import type { Model, Profiles } from "../wire/types";
import { activeProfile, inflight, inflightByModel, localModels, models, online, profileRevision, configRevision } from "./live";
import { ask, toast } from "./notices";
import { go, modelHref } from "./router";
import { plural } from "../lib/format";

/** Models this page asked to load and that have not answered yet. */
export const loading = signal<ReadonlySet<string>>(new Set());
export const failures = signal<ReadonlyMap<string, string>>(new Map());

const without = (set: ReadonlySet<string>, id: string): ReadonlySet<string> => new Set([...set].filter((item) => item !== id));

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** A refusal of the proxy and a failure of the inference server are worded apart. */
export function explained(error: unknown): string {
  if (error instanceof ApiError && error.status > 0) return error.fromProxy ? error.message : `The model's server answered ${error.status}: ${error.message}`;
  return messageOf(error);
}

const stateOf = (id: string): string | undefined => models.peek()?.find((model) => model.id === id)?.state;

export async function load(model: Model): Promise<void> {
  if (!online.value) return;
  loading.value = new Set([...loading.value, model.id]);
  const cleared = new Map(failures.value);
  cleared.delete(model.id);
  failures.value = cleared;
  let became = false;
  const stop = models.subscribe(() => {
    if (stateOf(model.id) === "ready") became = true;
  });
  try {
    await api.load(model.id);
  } catch (error) {
    // whatever a server without a root page answers after a good load is no failure
    const fromServer = error instanceof ApiError && error.status > 0 && !error.fromProxy;
    if (!became && !fromServer && !cancelled.delete(model.id)) await failed(model, error);
  } finally {
    stop();
    cancelled.delete(model.id);
    loading.value = without(loading.value, model.id);
  }
}

async function failed(model: Model, error: unknown): Promise<void> {
  if (error instanceof ApiError && error.status === 409) {
    const yes = await ask("Load with a small request?", `${error.message}. ${model.name || model.id} can be loaded by sending it one tiny chat request instead.`, "Send it");
    if (yes) await tinyRequest(model);
    return;
  }
  const message = messageOf(error);
  failures.value = new Map([...failures.value, [model.id, message]]);
  toast("bad", `${model.name || model.id} did not load: ${message}`, {
    label: "View log",
    run: () => go(`${modelHref(model.id)}?tab=logs`),
  });
}

async function tinyRequest(model: Model): Promise<void> {
  try {
    await postJson("/v1/chat/completions", { model: model.id, max_tokens: 1, messages: [{ role: "user", content: "hi" }] });
  } catch (error) {
    toast("bad", `${model.name || model.id} did not load: ${explained(error)}`);
  }
}

const cancelled = new Set<string>();

export async function unload(model: Model): Promise<void> {
  if (!online.value) return;
  const running = inflightByModel.value.get(model.id) ?? 0;
  const name = model.name || model.id;
  if (model.state === "starting") cancelled.add(model.id);
  else if (running > 0) {
    const yes = await ask(`Unload ${name}?`, `${plural(running, "request")} in flight will be cancelled.`, "Unload");
    if (!yes) return;
  }
  try {
    await api.unload(model.id);
  } catch (error) {
    toast("bad", `${name} was not unloaded: ${explained(error)}`);
  }
}

export const unloadingAll = signal(false);

export async function unloadAll(): Promise<void> {
  if (!online.value || unloadingAll.value) return;
  const running = inflight.value.length;
  if (running > 0 && !(await ask("Unload all models?", `${plural(running, "request")} in flight will be cancelled.`, "Unload all"))) return;
  unloadingAll.value = true;
  for (const model of localModels.value) if (model.state === "starting") cancelled.add(model.id);
  try {
    await api.unloadAll();
  } catch (error) {
    toast("bad", `Models were not unloaded: ${explained(error)}`);
  } finally {
    unloadingAll.value = false;
  }
}

export const cancelling = signal<ReadonlySet<string>>(new Set());

export async function cancelRequest(id: string): Promise<void> {
  cancelling.value = new Set([...cancelling.value, id]);
  try {
    await api.cancel(id);
  } catch (error) {
    toast("bad", `The request was not cancelled: ${explained(error)}`);
  } finally {
    cancelling.value = without(cancelling.value, id);
  }
}

// --- profiles -------------------------------------------------------------------------------------

export const profiles = signal<Profiles["profiles"]>([]);
export const switching = signal(false);

export async function fetchProfiles(): Promise<void> {
  const revision = profileRevision.peek();
  try {
    const got = await api.profiles();
    profiles.value = got.profiles;
    if (revision === profileRevision.peek()) activeProfile.value = got.active;
  } catch {
    profiles.value = []; // the picker hides
  }
}

export async function activate(name: string | null): Promise<void> {
  const before = activeProfile.value ?? null;
  const revision = profileRevision.peek();
  activeProfile.value = name;
  switching.value = true;
  try {
    await api.activate(name);
  } catch (error) {
    if (profileRevision.peek() === revision) activeProfile.value = before;
    toast("bad", `The profile was not switched: ${messageOf(error)}`);
  } finally {
    switching.value = false;
  }
}

export { configRevision };

export async function copy(text: string): Promise<boolean> {
  try {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return true;
    }
  } catch {
    // refused: the old way below
  }
  // plain http on a LAN has no clipboard API; inside a dialog the area must be inside it too
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  const home = document.querySelector("dialog[open]") ?? document.body;
  home.append(area);
  const before = document.activeElement as HTMLElement | null;
  area.select();
  let done = false;
  try {
    done = document.execCommand("copy");
  } catch {
    done = false;
  }
  area.remove();
  before?.focus?.();
  return done;
}
