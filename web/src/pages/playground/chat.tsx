import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { chatBody, PATHS, type Endpoint } from "../../wire/chat";
import { pretty, conversationOf } from "../../lib/conversation";
import { bytes, short } from "../../lib/format";
import { saveText } from "../../lib/save";
import { handOver } from "../../state/handover";
import { ask } from "../../state/notices";
import { prefs, setPref } from "../../state/prefs";
import { Button, CommitInput, CopyButton, Dialog, ErrorNote, Field, Menu, Select } from "../../ui/basics";
import { Follower } from "../../ui/follow";
import { Markdown } from "../../ui/markdown";
import { answer, busy, changed, compared, compareModel, conversation, discard, edit, failure, lastBody, names, open, regenerate, rename, restore, say, settings, start, stop, takeOver, type Entry } from "./chatstate";
import { NoModels, Picker, whyNot } from "./picker";

const TYPES = ["image/jpeg", "image/png", "image/gif", "image/webp"];
/** What servers decode; and the name a data URL of it gets. */
const SOUNDS: Record<string, string> = { "audio/wav": "audio/wav", "audio/x-wav": "audio/wav", "audio/wave": "audio/wav", "audio/vnd.wave": "audio/wav", "audio/mpeg": "audio/mpeg", "audio/mp3": "audio/mpeg" };
const LARGEST = 20 * 1024 * 1024;
const MOST = 5;

const draft = { text: "", images: [] as string[], sounds: [] as string[] };

export function Chat() {
  const list = useRef<HTMLDivElement>(null);
  const follower = useMemo(() => new Follower(), []);
  const { entries } = conversation.value;
  useEffect(() => {
    void restore().then(() => {
      const raw = handOver.peek() as { model?: unknown } | null;
      if (!raw) return;
      handOver.value = null;
      if (typeof raw.model === "string") setPref("chatModel", raw.model);
      takeOver(conversationOf(raw)?.turns ?? []);
    });
  }, []);
  useEffect(() => {
    if (list.current) follower.keepUp(list.current);
  });
  return (
    <div class="chat fill">
      <div class="messages" ref={list} onScroll={(event) => follower.scrolled(event.currentTarget)} tabIndex={0} role="log" aria-label="Conversation" aria-live="off">
        <NoModels />
        {entries.length === 0 && !failure.value && <p class="empty">Say something to a model. It is loaded when it is not yet.</p>}
        {entries.map((entry, i) => <Turn key={entry.id} entry={entry} live={busy.value && i === entries.length - 1 && entry.role === "assistant"} previous={entries[i - 1]} />)}
        {compared.value && <div class="tight"><span class="muted small">{compareModel.value} answers:</span><Turn entry={compared.value} live={busy.value} previous={undefined} foreign /></div>}
        {busy.value && entries.at(-1)?.role === "user" && <p class="row muted"><span class="spinner" role="status" aria-label="Waiting for the model" />waiting for the model</p>}
        {failure.value && <ErrorNote text={failure.value} retry={() => void answer()} />}
      </div>
      <Composer follow={() => (follower.on = true)} />
    </div>
  );
}

function Turn({ entry, live, previous, foreign = false }: { entry: Entry; live: boolean; previous: Entry | undefined; foreign?: boolean }) {
  const raw = useSignal(false);
  const editing = useSignal<string | null>(null);
  const picture = useSignal("");
  const mine = entry.role === "user";
  return (
    <article class={`turn ${entry.role}`}>
      <header>
        <span>{mine ? "You" : "Model"}</span>
        <span class="push row">
          {mine && !entry.images.length && !entry.sounds?.length && !busy.value && <Button small kind="quiet" icon="edit" label="Edit and ask again" onClick={() => (editing.value = entry.text)} />}
          {!mine && !live && !foreign && previous?.role === "user" && <Button small kind="quiet" icon="refresh" label="Answer again" disabled={busy.value} onClick={() => regenerate(entry.id)} />}
          {!mine && <Button small kind="quiet" pressed={raw.value} onClick={() => (raw.value = !raw.value)}>Raw</Button>}
          <CopyButton text={entry.text} />
        </span>
      </header>
      {entry.loading && <details open={live && !entry.text}><summary>Loading notice</summary><pre class="code" tabIndex={0}>{entry.loading}</pre></details>}
      {entry.reasoning && <details><summary>Reasoning ({entry.reasoning.length} chars{entry.reasoningMs === undefined ? "" : `, ${short(entry.reasoningMs)}`}){live && !entry.text ? " …" : ""}</summary><pre class="code" tabIndex={0}>{entry.reasoning}</pre></details>}
      {editing.value !== null ? (
        <textarea autocomplete="off" aria-label="Edit the message" value={editing.value} onInput={(event) => (editing.value = event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Escape") editing.value = null;
            else if (event.key === "Enter" && !event.shiftKey) {
              event.preventDefault();
              const text = editing.value ?? "";
              editing.value = null;
              edit(entry.id, text);
            }
          }} />
      ) : mine || raw.value ? <div style={{ whiteSpace: "pre-wrap" }}>{entry.text}</div> : <Markdown text={entry.text} live={live} />}
      {entry.images.length > 0 && <div class="thumbs">{entry.images.map((address, i) => <button key={i} type="button" class="button quiet" aria-label={`Show image ${i + 1}`} onClick={() => (picture.value = address)}><img class="attached" src={address} alt={`Attached ${i + 1}`} /></button>)}</div>}
      {entry.sounds?.map((address, i) => <audio key={i} controls src={address} aria-label={`Attached sound ${i + 1}`} />)}
      {entry.tools?.map((call, i) => <details key={i} open><summary>Tool call <code>{call.name}</code></summary><pre class="code" tabIndex={0}>{pretty(call.args)}</pre></details>)}
      {entry.interrupted && <p class="error-line">Interrupted: the answer ended without its end mark.</p>}
      {entry.stopped && <p class="muted small">Stopped</p>}
      {entry.stats && <p class="muted caption num">{entry.stats}</p>}
      {picture.value && <Dialog wide title="Image" onClose={() => (picture.value = "")}><img class="overlay-image" src={picture.value} alt="Attached, full size" /></Dialog>}
    </article>
  );
}

function Composer({ follow }: { follow: () => void }) {
  const text = useSignal(draft.text);
  const images = useSignal(draft.images);
  const sounds = useSignal(draft.sounds);
  const problem = useSignal("");
  const dialog = useSignal<"" | "settings" | "large" | "request">("");
  const box = useRef<HTMLTextAreaElement>(null);
  const was = useRef(false);
  draft.text = text.value;
  draft.images = images.value;
  draft.sounds = sounds.value;
  const model = prefs.value.chatModel;
  const reason = whyNot(model) || (!text.value.trim() && !images.value.length && !sounds.value.length ? "Write something first" : "");
  useEffect(() => {
    if (was.current && !busy.value) box.current?.focus();
    was.current = busy.value;
  }, [busy.value]);
  const send = () => {
    if (busy.value || reason) return;
    const said = text.value;
    const pictures = images.value;
    const heard = sounds.value;
    text.value = "";
    images.value = [];
    sounds.value = [];
    problem.value = "";
    follow();
    say(said, pictures, heard);
  };
  const attach = async (files: Iterable<File>) => {
    problem.value = "";
    for (const file of files) {
      if (file.type.startsWith("text/") || /\.(txt|md|json|csv|log|py|js|ts|yaml|yml)$/i.test(file.name)) {
        text.value = `${text.value}${text.value ? "\n\n" : ""}${file.name}:\n\`\`\`\n${await file.text()}\n\`\`\``;
        continue;
      }
      const sound = SOUNDS[file.type];
      if (!sound && !TYPES.includes(file.type)) problem.value = `${file.name} was not attached: only JPEG, PNG, GIF and WebP pictures, WAV and MP3 sounds and text files can be.`;
      else if (file.size > LARGEST) problem.value = `${file.name} was not attached: it has ${bytes(file.size)}, at most 20 MB are taken.`;
      else if (images.value.length + sounds.value.length >= MOST) problem.value = `${file.name} was not attached: a message takes at most ${MOST} pictures and sounds.`;
      else if (sound) sounds.value = [...sounds.value, (await dataUrl(file)).replace(/^data:[^;,]*/, `data:${sound}`)];
      else images.value = [...images.value, await dataUrl(file)];
    }
  };
  return (
    <div class="composer" onDragOver={(event) => event.preventDefault()} onDrop={(event) => { event.preventDefault(); void attach(event.dataTransfer?.files ?? []); }}>
      {images.value.length > 0 && <div class="thumbs">{images.value.map((address, i) => <span key={i} class="row"><img src={address} alt={`To be sent, ${i + 1}`} /><Button small kind="quiet" icon="close" label={`Remove image ${i + 1}`} onClick={() => (images.value = images.value.filter((_, at) => at !== i))} /></span>)}</div>}
      {sounds.value.map((address, i) => <span key={i} class="row"><audio controls src={address} aria-label={`Sound to be sent, ${i + 1}`} /><Button small kind="quiet" icon="close" label={`Remove sound ${i + 1}`} onClick={() => (sounds.value = sounds.value.filter((_, at) => at !== i))} /></span>)}
      {problem.value && <p class="error-line" role="alert">{problem.value}</p>}
      <textarea ref={box} aria-label="Message" placeholder="Message (Enter sends, Shift+Enter for a new line)" value={text.value} disabled={busy.value}
        onInput={(event) => (text.value = event.currentTarget.value)}
        onPaste={(event) => { const files = [...(event.clipboardData?.files ?? [])]; if (files.length) { event.preventDefault(); void attach(files); } }}
        onKeyDown={(event) => { if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); } }} />
      <div class="row wrap">
        <Picker value={model} disabled={busy.value} onChange={(id) => setPref("chatModel", id)} />
        <label class="button quiet icon-only" title="Attach pictures, sounds or text files">
          <svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d="M2 3h12v10H2ZM2.500 11.500l3.500-4 3 3 2-2 3 3M10.500 6h.01" /></svg>
          <span class="visually-hidden">Attach</span>
          <input type="file" multiple class="visually-hidden" onChange={(event) => { void attach([...(event.currentTarget.files ?? [])]); event.currentTarget.value = ""; }} />
        </label>
        <Button kind="quiet" icon="settings" label="Settings of the chat" onClick={() => (dialog.value = "settings")} />
        <Conversations onLarge={() => (dialog.value = "large")} onRequest={() => (dialog.value = "request")} />
        <span class="push" />
        {busy.value ? <Button icon="stop" onClick={stop}>Stop</Button> : <Button kind="primary" icon="send" disabled={reason !== ""} reason={reason || undefined} onClick={send}>Send</Button>}
      </div>
      {whyNot(model) && model && <p class="error-line">{whyNot(model)}</p>}
      {dialog.value === "settings" && <SettingsDialog onClose={() => (dialog.value = "")} />}
      {dialog.value === "large" && <LargeEditor text={text.value} onClose={(next) => { if (next !== null) text.value = next; dialog.value = ""; }} />}
      {dialog.value === "request" && <Dialog wide title="Request" onClose={() => (dialog.value = "")}><pre class="code" tabIndex={0}>{JSON.stringify(lastBody.value ?? chatBody(model, conversation.value.entries, settings().value), null, 2)}</pre></Dialog>}
    </div>
  );
}

const dataUrl = (file: File): Promise<string> =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(String(reader.result)));
    reader.addEventListener("error", () => reject(new Error(`${file.name} could not be read`)));
    reader.readAsDataURL(file);
  });

function Conversations({ onLarge, onRequest }: { onLarge: () => void; onRequest: () => void }) {
  const importFile = (file: File | undefined) => {
    if (file) void file.text().then((text) => { const raw = JSON.parse(text) as { entries?: Entry[] }; if (Array.isArray(raw.entries)) void start().then(() => changed(raw.entries!)); }, () => undefined).catch(() => (failure.value = `${file.name} holds no conversation`));
  };
  const { name } = conversation.value;
  return (
    <Menu icon="menu" label="Conversations">
      <Select label="Conversation" value={name} options={[...new Set([name, ...names.value])].map((item) => [item, item] as const)} onChange={(item) => void open(item)} />
      <Field label="Name"><CommitInput value={name} maxLength={64} onCommit={(next) => void rename(next.trim())} /></Field>
      <Button small kind="quiet" icon="plus" onClick={() => void start()}>New conversation</Button>
      <Button small kind="quiet" icon="download" onClick={() => saveText(`${name}.json`, JSON.stringify(conversation.value, null, 2), "application/json")}>Export</Button>
      <label class="button quiet small">Import<input type="file" accept="application/json" class="visually-hidden" onChange={(event) => importFile(event.currentTarget.files?.[0])} /></label>
      <Button small kind="quiet" icon="trash" onClick={() => void ask("Delete this conversation?", `${name} cannot be brought back.`, "Delete").then((yes) => (yes ? discard() : undefined))}>Delete</Button>
      <Button small kind="quiet" icon="edit" onClick={onLarge}>Larger editor</Button>
      <Button small kind="quiet" icon="search" onClick={onRequest}>View request</Button>
      <span class="tight"><span class="caption muted">Compare with</span><Picker label="Model to compare with" value={compareModel.value} onChange={(id) => (compareModel.value = id)} /></span>
    </Menu>
  );
}

function LargeEditor({ text, onClose }: { text: string; onClose: (text: string | null) => void }) {
  const value = useSignal(text);
  return (
    <Dialog wide title="Message" onClose={() => onClose(null)} footer={<><Button onClick={() => onClose(null)}>Cancel</Button><Button kind="primary" onClick={() => onClose(value.value)}>Done</Button></>}>
      <textarea aria-label="Message, large" style={{ height: "60dvh" }} value={value.value} onInput={(event) => (value.value = event.currentTarget.value)} />
    </Dialog>
  );
}

function SettingsDialog({ onClose }: { onClose: () => void }) {
  const p = prefs.value;
  return (
    <Dialog title="Settings of the chat" onClose={onClose}>
      <Field label="Endpoint"><Select value={p.chatEndpoint} options={(Object.keys(PATHS) as Endpoint[]).map((key) => [key, PATHS[key].slice(1)] as const)} onChange={(value) => setPref("chatEndpoint", value as Endpoint)} /></Field>
      <Field label="System prompt"><textarea rows={4} value={p.chatSystem} onInput={(event) => setPref("chatSystem", event.currentTarget.value)} /></Field>
      <Field label={`Temperature ${p.chatTemperature.toFixed(2)}`}><input type="range" min={0} max={2} step={0.05} value={p.chatTemperature} onInput={(event) => setPref("chatTemperature", Number(event.currentTarget.value))} /></Field>
      <Field label="Most tokens"><input type="number" min={0} value={p.chatMaxTokens} onChange={(event) => setPref("chatMaxTokens", Math.max(0, Math.floor(Number(event.currentTarget.value) || 0)))} /></Field>
      <div class="filters">{([["chatTopP", "top_p", "0.95"], ["chatTopK", "top_k", "40"], ["chatMinP", "min_p", "0.05"], ["chatSeed", "seed", "1"]] as const).map(([key, label, example]) => <Field key={key} label={label}><input inputMode="decimal" placeholder={`server's own, e.g. ${example}`} value={p[key]} onInput={(event) => setPref(key, event.currentTarget.value)} /></Field>)}</div>
      <Field label="Stop at, one text a line"><textarea rows={2} value={p.chatStop} onInput={(event) => setPref("chatStop", event.currentTarget.value)} /></Field>
      <Field label="Extra parameters, JSON, merged last" error={settings().problem || undefined}><textarea rows={3} class="mono" placeholder='{"repeat_penalty": 1.1}' value={p.chatExtra} onInput={(event) => setPref("chatExtra", event.currentTarget.value)} /></Field>
    </Dialog>
  );
}
