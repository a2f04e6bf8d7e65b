import { signal, useSignal } from "@preact/signals";
import { request, SESSION } from "../../wire/api";
import { prefs, setPref } from "../../state/prefs";
import { bytes } from "../../lib/format";
import { Button, Card, CopyButton, Empty, ErrorNote, Field, Select } from "../../ui/basics";
import { Job } from "./job";
import { NoModels, Picker, whyNot } from "./picker";

const job = new Job("transcription");
const file = signal<File | null>(null);
const language = signal("");
const format = signal("json");
const result = signal("");

async function transcribe(stop: AbortSignal): Promise<void> {
  const form = new FormData();
  form.append("file", file.peek()!);
  form.append("model", prefs.peek().transcriptionModel);
  if (language.peek()) form.append("language", language.peek());
  if (format.peek() !== "json") form.append("response_format", format.peek());
  const answer = await request("/v1/audio/transcriptions", { method: "POST", body: form, signal: stop, headers: { "X-Session-ID": SESSION } });
  const text = await answer.text();
  try {
    const parsed = JSON.parse(text) as { text?: unknown };
    result.value = typeof parsed.text === "string" ? parsed.text : JSON.stringify(parsed, null, 2);
  } catch {
    result.value = text; // srt, vtt, text
  }
}

export function Transcription() {
  const p = prefs.value;
  const over = useSignal(false);
  const problem = useSignal("");
  const recorder = useSignal<MediaRecorder | null>(null);
  const busy = job.busy.value;
  const take = (got: File | undefined) => {
    if (!got) return;
    const fine = /^(audio|video)\//.test(got.type) || /\.(mp3|wav|ogg|flac|m4a|webm|mp4|opus|aac)$/i.test(got.name);
    problem.value = fine ? "" : `${got.name} is neither sound nor video.`;
    if (fine) file.value = got;
  };
  const record = async () => {
    if (recorder.value) return recorder.value.stop();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const parts: Blob[] = [];
      const next = new MediaRecorder(stream);
      next.addEventListener("dataavailable", (event) => parts.push(event.data));
      next.addEventListener("stop", () => {
        stream.getTracks().forEach((track) => track.stop());
        recorder.value = null;
        take(new File(parts, "recording.webm", { type: next.mimeType }));
      });
      next.start();
      recorder.value = next;
    } catch (error) {
      problem.value = `The microphone cannot be used: ${error instanceof Error ? error.message : String(error)}`;
    }
  };
  const reason = whyNot(p.transcriptionModel) || (file.value ? "" : "Choose a file first");
  return (
    <Card title="Transcription">
      <div class="body stack">
        <NoModels />
        <Picker value={p.transcriptionModel} disabled={busy} capabilities={["audio_transcriptions"]} onChange={(id) => setPref("transcriptionModel", id)} />
        <div class={`drop ${over.value ? "over" : ""}`} onDragOver={(event) => { event.preventDefault(); over.value = true; }} onDragLeave={() => (over.value = false)} onDrop={(event) => { event.preventDefault(); over.value = false; take(event.dataTransfer?.files[0]); }}>
          {file.value ? <span><b>{file.value.name}</b> <span class="muted">{bytes(file.value.size)}</span></span> : <span class="muted">Drop a sound or video file here</span>}
          <span class="row wrap">
            <label class="button">Browse<input type="file" accept="audio/*,video/*" class="visually-hidden" disabled={busy} onChange={(event) => take(event.currentTarget.files?.[0])} /></label>
            {isSecureContext && "mediaDevices" in navigator && <Button icon="mic" pressed={recorder.value !== null} onClick={() => void record()}>{recorder.value ? "Stop recording" : "Record"}</Button>}
          </span>
          {problem.value && <span class="error-line" role="alert">{problem.value}</span>}
        </div>
        <div class="filters">
          <Field label="Language (optional)"><input value={language.value} placeholder="en" onInput={(event) => (language.value = event.currentTarget.value.trim())} /></Field>
          <Field label="Format"><Select value={format.value} options={["json", "text", "srt", "vtt", "verbose_json"].map((name) => [name, name] as const)} onChange={(value) => (format.value = value)} /></Field>
        </div>
        <div class="row">{busy ? <Button icon="stop" onClick={() => job.stop()}>Cancel</Button> : <Button kind="primary" disabled={reason !== ""} reason={reason || undefined} onClick={() => void job.run(transcribe)}>Transcribe</Button>}{busy && <span class="muted num" role="status">{job.elapsed.value.toFixed(0)} s</span>}</div>
        {job.error.value && <ErrorNote text={job.error.value} retry={() => void job.run(transcribe)} />}
        {result.value ? <div class="tight"><div class="row"><h3>Text</h3><span class="push" /><CopyButton text={result.value} /></div><pre class="code" tabIndex={0}>{result.value}</pre></div> : <Empty>The text appears here</Empty>}
      </div>
    </Card>
  );
}
