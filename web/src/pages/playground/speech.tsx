import { signal } from "@preact/signals";
import { json, postJson } from "../../wire/api";
import { prefs, setPref } from "../../state/prefs";
import { saveBlob } from "../../lib/save";
import { short } from "../../lib/format";
import { Button, Card, Check, Empty, ErrorNote, Field } from "../../ui/basics";
import { Job } from "./job";
import { NoModels, Picker, whyNot } from "./picker";

const VOICES = ["coral", "alloy", "echo", "fable", "onyx", "nova", "shimmer"];
const ENDINGS: Record<string, string> = { "audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav", "audio/ogg": "ogg", "audio/opus": "opus", "audio/flac": "flac", "audio/aac": "aac", "audio/webm": "webm" };

const job = new Job("speech");
const text = signal("");
const voices = signal<Record<string, string[]>>({});
const sound = signal<{ address: string; blob: Blob; voice: string; at: Date; took: number } | null>(null);

/** The names in any of the shapes servers use; nothing usable: the usual seven. */
export function voiceNames(value: unknown): string[] {
  const list = Array.isArray(value) ? value : ((value as { voices?: unknown } | null)?.voices ?? []);
  const found = (Array.isArray(list) ? list : []).map((item) => (typeof item === "string" ? item : String((item as { id?: unknown } | null)?.id ?? ""))).filter(Boolean);
  return found.length ? found : VOICES;
}

async function askVoices(): Promise<void> {
  const model = prefs.peek().speechModel;
  let found = VOICES;
  try {
    found = voiceNames(await json(`/v1/audio/voices?model=${encodeURIComponent(model)}`));
  } catch {
    found = VOICES; // the server does not tell: offer the usual ones
  }
  voices.value = { ...voices.value, [model]: found };
  if (!found.includes(prefs.peek().speechVoice)) setPref("speechVoice", found[0]!);
}

async function speak(stop: AbortSignal): Promise<void> {
  const { speechModel: model, speechVoice: voice } = prefs.peek();
  const began = performance.now();
  const answer = await postJson("/v1/audio/speech", { model, input: text.peek(), voice }, stop);
  const blob = await answer.blob();
  if (sound.peek()) URL.revokeObjectURL(sound.peek()!.address);
  sound.value = { address: URL.createObjectURL(blob), blob, voice, at: new Date(), took: performance.now() - began };
}

export function Speech() {
  const p = prefs.value;
  const busy = job.busy.value;
  const list = voices.value[p.speechModel] ?? VOICES;
  const reason = whyNot(p.speechModel) || (text.value.trim() ? "" : "Write what is to be said first");
  const got = sound.value;
  const ending = got ? (ENDINGS[got.blob.type.split(";")[0]!] ?? "mp3") : "mp3";
  return (
    <Card title="Speech">
      <div class="body stack">
        <NoModels />
        <Picker value={p.speechModel} disabled={busy} capabilities={["audio_speech"]} onChange={(id) => setPref("speechModel", id)} />
        <div class="row low">
          <Field label="Voice">
            <select aria-label="Voice" value={p.speechVoice} disabled={busy} onChange={(event) => { if (event.currentTarget.value === "(refresh)") void askVoices(); else setPref("speechVoice", event.currentTarget.value); }}>
              {[...new Set([...list, p.speechVoice])].map((voice) => <option key={voice} value={voice}>{voice}</option>)}
              <option value="(refresh)">(refresh)</option>
            </select>
          </Field>
          <Button icon="refresh" label="Ask the server for its voices" disabled={busy || whyNot(p.speechModel) !== ""} onClick={() => void askVoices()} />
        </div>
        <Field label="Text"><textarea rows={5} value={text.value} disabled={busy} onInput={(event) => (text.value = event.currentTarget.value)} /></Field>
        <div class="row wrap">
          {busy ? <Button icon="stop" onClick={() => job.stop()}>Cancel</Button> : <Button kind="primary" disabled={reason !== ""} reason={reason || undefined} onClick={() => void job.run(speak)}>Speak</Button>}
          <Check label="Play when it is there" checked={p.speechAutoplay} onChange={(on) => setPref("speechAutoplay", on)} />
        </div>
        {job.error.value && <ErrorNote text={job.error.value} retry={() => void job.run(speak)} />}
        {got ? (
          <div class="tight">
            <audio controls autoplay={p.speechAutoplay} src={got.address} aria-label={`Speech, voice ${got.voice}`} />
            <div class="row"><span class="muted small">{got.voice} · {got.at.toLocaleTimeString()} · {short(got.took)}</span><Button small icon="download" onClick={() => saveBlob(`${got.voice}-${got.at.toISOString().slice(0, 19).replaceAll(":", "-")}.${ending}`, got.blob)}>Download</Button></div>
          </div>
        ) : <Empty>The recording appears here</Empty>}
      </div>
    </Card>
  );
}
