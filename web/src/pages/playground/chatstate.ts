// Conversations: what is said, what is being said, and where it is kept.
import { signal } from "@preact/signals";
import { chatBody, streamChat, type ChatSettings, type Message, type Moments } from "../../wire/chat";
import { interrupted, type Reply, type ToolCall } from "../../wire/completion";
import { conversationOf } from "../../lib/conversation";
import { explained } from "../../state/actions";
import { prefs } from "../../state/prefs";
import { setBusy } from "../../state/playground";
import { keys, load, remove, save } from "../../state/store";

export interface Entry extends Message {
  id: number;
  reasoning?: string;
  loading?: string;
  reasoningMs?: number;
  tools?: ToolCall[];
  stats?: string;
  interrupted?: boolean;
  stopped?: boolean;
}

export interface Conversation {
  name: string;
  entries: Entry[];
}

export const conversation = signal<Conversation>({ name: "Conversation 1", entries: [] });
export const names = signal<string[]>([]);
/** What went wrong last: never part of the conversation. */
export const failure = signal("");
export const busy = signal(false);
export const lastBody = signal<unknown>(null);
/** Parallel answers of a second model, for comparison. */
export const compareModel = signal("");
export const compared = signal<Entry | null>(null);

let nextId = 1;
let stopper: AbortController | null = null;
let saving: ReturnType<typeof setTimeout> | undefined;

export function changed(entries: Entry[]): void {
  conversation.value = { ...conversation.value, entries };
  clearTimeout(saving);
  saving = setTimeout(() => void keep(), 300);
}

async function keep(): Promise<void> {
  await save(conversation.peek().name, conversation.peek().entries);
  await save(CURRENT, conversation.peek().name);
  names.value = (await keys()).filter((name) => name !== CURRENT).sort();
}

const CURRENT = "\u0000current";
let restored: Promise<void> | undefined;

export const restore = (): Promise<void> => (restored ??= openLast());

async function openLast(): Promise<void> {
  const name = await load(CURRENT);
  names.value = (await keys()).filter((key) => key !== CURRENT).sort();
  if (typeof name === "string" && conversation.peek().entries.length === 0) await open(name);
  else if (name === undefined) importOld();
}

/** The conversation that the reference program left in this browser, once. */
function importOld(): void {
  try {
    const messages: unknown = JSON.parse(globalThis.localStorage?.getItem("playground-messages") ?? "[]");
    const turns = conversationOf({ messages })?.turns ?? [];
    if (turns.length) takeOver(turns);
  } catch {
    // nothing that can be read: nothing to take over
  }
}

export async function open(name: string): Promise<void> {
  const entries = await load(name);
  const list = Array.isArray(entries) ? (entries as Entry[]) : [];
  nextId = Math.max(0, ...list.map((entry) => entry.id)) + 1;
  conversation.value = { name, entries: list };
  failure.value = "";
  await save(CURRENT, name);
}

export async function start(name?: string): Promise<void> {
  let number = 1;
  while (names.peek().includes(`Conversation ${number}`) || conversation.peek().name === `Conversation ${number}`) number += 1;
  conversation.value = { name: name ?? `Conversation ${number}`, entries: [] };
  failure.value = "";
  compared.value = null;
  await keep();
}

export async function discard(): Promise<void> {
  await remove(conversation.peek().name);
  names.value = names.peek().filter((name) => name !== conversation.peek().name);
  const other = names.peek()[0];
  if (other) await open(other);
  else await start("Conversation 1");
}

/** Another name for this conversation; what had the name before keeps it. */
export async function rename(name: string): Promise<void> {
  const before = conversation.peek();
  if (!name || name === before.name || names.peek().includes(name)) return;
  conversation.value = { ...before, name };
  await keep();
  await remove(before.name);
  names.value = names.peek().filter((item) => item !== before.name);
}

/** What is set of the sampler; empty fields are left to the server. */
export function sampler(): { value: Record<string, unknown>; problem: string } {
  const p = prefs.peek();
  const value: Record<string, unknown> = {};
  for (const [key, written] of [["top_p", p.chatTopP], ["top_k", p.chatTopK], ["min_p", p.chatMinP], ["seed", p.chatSeed]] as const) {
    if (!written.trim()) continue;
    const number = Number(written);
    if (!Number.isFinite(number)) return { value, problem: `${key} is not a number: correct it in the settings of the chat.` };
    value[key] = number;
  }
  const stops = p.chatStop.split("\n").filter(Boolean);
  if (stops.length) value[p.chatEndpoint === "messages" ? "stop_sequences" : "stop"] = stops;
  return { value, problem: "" };
}

export function settings(): { value: ChatSettings; problem: string } {
  const p = prefs.peek();
  const { value: chosen, problem: wrong } = sampler();
  let extra: Record<string, unknown> = chosen;
  let problem = wrong;
  if (p.chatExtra.trim()) {
    try {
      extra = { ...chosen, ...(JSON.parse(p.chatExtra) as Record<string, unknown>) };
    } catch {
      problem = "The extra parameters are not valid JSON: correct them in the settings.";
    }
  }
  return { value: { endpoint: p.chatEndpoint, system: p.chatSystem, temperature: p.chatTemperature, maxTokens: p.chatMaxTokens, extra }, problem };
}

export function say(text: string, images: string[], sounds: string[]): void {
  changed([...conversation.peek().entries, { id: nextId++, role: "user", text, images, ...(sounds.length ? { sounds } : {}) }]);
  void answer();
}

/** Everything from this entry on is dropped; what is left is answered anew. */
export function regenerate(id: number): void {
  const entries = conversation.peek().entries;
  const at = entries.findIndex((entry) => entry.id === id);
  changed(entries.slice(0, entries[at]?.role === "assistant" ? at : at + 1));
  void answer();
}

export function edit(id: number, text: string): void {
  const entries = conversation.peek().entries;
  const at = entries.findIndex((entry) => entry.id === id);
  changed([...entries.slice(0, at), { ...entries[at]!, text }]);
  void answer();
}

export const stop = (): void => stopper?.abort();

export async function answer(): Promise<void> {
  if (busy.peek()) return;
  const { value, problem } = settings();
  failure.value = problem;
  if (problem) return;
  busy.value = true;
  setBusy("chat", true);
  stopper = new AbortController();
  compared.value = null;
  const history = conversation.peek().entries;
  const others = compareModel.peek() ? [second(history, value, stopper.signal)] : [];
  try {
    await Promise.all([first(history, value, stopper), ...others]);
  } finally {
    busy.value = false;
    setBusy("chat", false);
    stopper = null;
  }
}

async function first(history: Entry[], value: ChatSettings, stopping: AbortController): Promise<void> {
  const entry: Entry = { id: nextId++, role: "assistant", text: "", images: [] };
  const show = () => {
    const entries = conversation.peek().entries;
    const others = entries.filter((item) => item.id !== entry.id);
    changed([...others, { ...entry }]);
  };
  try {
    const body = chatBody(prefs.peek().chatModel, history, value);
    lastBody.value = body;
    await streamInto(entry, body, value, stopping.signal, show);
  } catch (error) {
    if (stopping.signal.aborted) {
      entry.stopped = true;
      if (entry.text || entry.reasoning) show();
    } else failure.value = explained(error);
  }
}

async function second(history: Entry[], value: ChatSettings, stop_: AbortSignal): Promise<void> {
  const entry: Entry = { id: 0, role: "assistant", text: "", images: [] };
  const show = () => (compared.value = { ...entry });
  try {
    await streamInto(entry, chatBody(compareModel.peek(), history, value), value, stop_, show);
  } catch (error) {
    entry.text = entry.text || "";
    entry.stats = stop_.aborted ? "stopped" : explained(error);
    show();
  }
}

async function streamInto(entry: Entry, body: unknown, value: ChatSettings, signal_: AbortSignal, show: () => void): Promise<void> {
  let drawing = false;
  const take = (reply: Reply, moments: Moments) => {
    entry.text = reply.text;
    if (reply.reasoning) entry.reasoning = reply.reasoning;
    if (reply.loading.trim()) entry.loading = reply.loading.trim();
    if (reply.tools.length) entry.tools = reply.tools.map((call) => ({ ...call }));
    if (moments.reasoning) entry.reasoningMs = (moments.content ?? performance.now()) - moments.reasoning;
    if (drawing) return;
    drawing = true;
    setTimeout(() => {
      drawing = false;
      show();
    }, 33);
  };
  const { reply, moments } = await streamChat(value.endpoint, body, signal_, take);
  entry.stats = statsOf(reply, moments);
  if (interrupted(reply)) entry.interrupted = true;
  if (reply.error) {
    if (entry.text || entry.reasoning) show();
    throw new Error(reply.error);
  }
  show();
}

function statsOf(reply: Reply, moments: Moments): string {
  const { figures } = reply;
  const seconds = (ms: number) => (ms < 1000 ? `${Math.round(ms)}ms` : `${(ms / 1000).toFixed(1)}s`);
  const first = moments.reasoning ?? moments.content;
  const end = moments.ended ?? performance.now();
  const rate = figures.perSecond ?? (figures.generated && first && end > first ? figures.generated / ((end - first) / 1000) : 0);
  return [
    reply.model,
    figures.prompt && `${figures.prompt} prompt`,
    figures.generated && `${figures.generated} generated`,
    figures.promptPerSecond && `prefill ${figures.promptPerSecond.toFixed(1)} t/s`,
    rate && `decode ${rate.toFixed(1)} t/s`,
    first && `first token ${seconds(first - moments.started)}`,
    `total ${seconds(end - moments.started)}`,
  ].filter(Boolean).join(" · ");
}

/** A captured request becomes the conversation that asked it. */
export function takeOver(turns: { role: string; parts: { kind: string; text: string }[] }[]): void {
  const entries: Entry[] = turns
    .filter((turn) => turn.role === "user" || turn.role === "assistant")
    .map((turn) => ({ id: nextId++, role: turn.role as "user", text: turn.parts.filter((part) => part.kind === "text").map((part) => part.text).join("\n"), images: turn.parts.filter((part) => part.kind === "image" && part.text.startsWith("data:")).map((part) => part.text) }));
  void start().then(() => changed(entries));
}
