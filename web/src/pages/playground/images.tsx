import { signal, useSignal } from "@preact/signals";
import { json, postJson, request } from "../../wire/api";
import { list } from "../../wire/decode";
import { saveBlob } from "../../lib/save";
import { prefs, setPref } from "../../state/prefs";
import { messageOf } from "../../state/actions";
import { Button, Card, Dialog, Empty, ErrorNote, Field, Segmented, Select } from "../../ui/basics";
import { Job } from "./job";
import { NoModels, Picker, whyNot } from "./picker";

const SIZES = ["512x512", "1024x1024", "1024x768", "1280x720", "1792x1024", "768x1024", "720x1280", "1024x1792"];
const SAMPLERS = ["", "euler_a", "euler", "heun", "dpm2", "dpmpp2s_a", "dpmpp2m", "dpmpp2mv2", "ipndm", "ipndm_v", "lcm", "ddim_trailing", "tcd"];
const SCHEDULERS = ["", "discrete", "karras", "exponential", "ays", "gits"];

interface Lora {
  name: string;
  path: string;
  multiplier: number;
}

const job = new Job("images");
const prompt = signal("");
const loras = signal<Lora[]>([]);
const chosen = signal<Lora[]>([]);
interface Made {
  address: string;
  prompt: string;
  model: string;
  at: Date;
}
/** Pictures that are kept for as long as the page is open. */
const KEPT = 24;
const pictures = signal<string[]>([]);
const history = signal<Made[]>([]);
const source = signal<File | null>(null);

export function sdapiBody(model: string, size: string): Record<string, unknown> {
  const [width, height] = size.split("x").map(Number);
  const p = prefs.peek();
  const body: Record<string, unknown> = { model, prompt: prompt.value, negative_prompt: p.imageNegative, width, height, steps: p.imageSteps, cfg_scale: p.imageCfg, seed: p.imageSeed, batch_size: p.imageBatch, sampler_name: p.imageSampler, scheduler: p.imageScheduler, lora: chosen.value.map(({ path, multiplier }) => ({ path, multiplier })) };
  for (const [key, value] of Object.entries(body)) if (value === "" || (Array.isArray(value) && !value.length)) delete body[key];
  return body;
}

async function generate(stop: AbortSignal): Promise<void> {
  const { imageModel: model, imageSize: size, imageMode: mode } = prefs.peek();
  if (mode === "sdapi") {
    const answer = (await (await postJson("/sdapi/v1/txt2img", sdapiBody(model, size), stop)).json()) as { images?: string[] };
    pictures.value = (answer.images ?? []).map((data) => `data:image/png;base64,${data}`);
  } else if (source.peek()) {
    const form = new FormData();
    form.append("model", model);
    form.append("prompt", prompt.peek());
    form.append("size", size);
    form.append("n", "1");
    form.append("image", source.peek()!);
    pictures.value = openAi(await (await request("/v1/images/edits", { method: "POST", body: form, signal: stop })).json());
  } else pictures.value = openAi(await (await postJson("/v1/images/generations", { model, prompt: prompt.peek(), n: 1, size }, stop)).json());
  if (!pictures.value.length) throw new Error("The answer holds no picture.");
  const made = pictures.value.map((address): Made => ({ address, prompt: prompt.peek(), model, at: new Date() }));
  history.value = [...made, ...history.peek()].slice(0, KEPT);
}

function openAi(value: unknown): string[] {
  const data = (value as { data?: { b64_json?: string; url?: string }[] }).data ?? [];
  return data.map((item) => (item.b64_json ? `data:image/png;base64,${item.b64_json}` : (item.url ?? ""))).filter(Boolean);
}

async function findLoras(problem: { value: string }): Promise<void> {
  try {
    const got = list(await json(`/sdapi/v1/loras?model=${encodeURIComponent(prefs.peek().imageModel)}`), "loras") as { name?: string; alias?: string; path?: string }[];
    loras.value = got.map((item) => ({ name: item.name ?? item.alias ?? item.path ?? "", path: item.path ?? item.name ?? "", multiplier: 1 }));
    problem.value = got.length ? "" : "The server has no LoRAs.";
  } catch (error) {
    problem.value = messageOf(error);
  }
}

const download = (address: string, i: number): void => {
  void fetch(address).then((answer) => answer.blob()).then((blob) => saveBlob(`generated-image-${Date.now()}-${i}.png`, blob));
};

export function Images() {
  const p = prefs.value;
  const full = useSignal("");
  const loraProblem = useSignal("");
  const reason = whyNot(p.imageModel) || (prompt.value.trim() ? "" : "Describe the picture first");
  const busy = job.busy.value;
  const go = () => void job.run(generate);
  const number = (label: string, key: "imageSteps" | "imageCfg" | "imageSeed" | "imageBatch", min: number, max: number, step = 1) => <Field label={label}><input type="number" min={min} max={max} step={step} value={p[key]} disabled={busy} onChange={(event) => setPref(key, Math.min(max, Math.max(min, Number(event.currentTarget.value))))} /></Field>;
  return (
    <div class="split">
      <Card title="Images">
        <div class="body stack">
          <NoModels />
          <Picker value={p.imageModel} disabled={busy} capabilities={["image_generation", "image_to_image"]} onChange={(id) => setPref("imageModel", id)} />
          <Segmented label="API" value={p.imageMode} options={[["openai", "OpenAI"], ["sdapi", "SDAPI"]]} onChange={(value) => setPref("imageMode", value)} />
          <Field label="Prompt"><textarea rows={4} value={prompt.value} disabled={busy} onInput={(event) => (prompt.value = event.currentTarget.value)} onKeyDown={(event) => { if (event.key === "Enter" && !event.shiftKey && !reason) { event.preventDefault(); go(); } }} /></Field>
          <Field label="Size"><Select value={p.imageSize} disabled={busy} options={SIZES.map((size) => [size, size.replace("x", " × ")] as const)} onChange={(value) => setPref("imageSize", value)} /></Field>
          {p.imageMode === "openai" && <Field label="Picture to change (optional)"><input type="file" accept="image/*" disabled={busy} onChange={(event) => (source.value = event.currentTarget.files?.[0] ?? null)} /></Field>}
          {p.imageMode === "sdapi" && (
            <details><summary>Parameters</summary>
              <div class="stack">
                <Field label="Negative prompt"><textarea rows={2} value={p.imageNegative} onInput={(event) => setPref("imageNegative", event.currentTarget.value)} /></Field>
                <div class="filters">{number("Steps", "imageSteps", 1, 150)}{number("CFG", "imageCfg", 1, 30, 0.5)}{number("Seed", "imageSeed", -1, 2 ** 31)}{number("Batch", "imageBatch", 1, 8)}</div>
                <Field label="Sampler"><Select value={p.imageSampler} options={SAMPLERS.map((name) => [name, name || "default"] as const)} onChange={(value) => setPref("imageSampler", value)} /></Field>
                <Field label="Scheduler"><Select value={p.imageScheduler} options={SCHEDULERS.map((name) => [name, name || "auto"] as const)} onChange={(value) => setPref("imageScheduler", value)} /></Field>
                <div class="row"><Button small icon="refresh" onClick={() => void findLoras(loraProblem)}>Find LoRAs</Button><span class="muted small">{loraProblem.value}</span></div>
                {loras.value.map((lora) => {
                  const on = chosen.value.find((item) => item.path === lora.path);
                  return <div class="row" key={lora.path}><label class="check"><input type="checkbox" checked={Boolean(on)} onChange={() => (chosen.value = on ? chosen.value.filter((item) => item !== on) : [...chosen.value, { ...lora }])} />{lora.name}</label>{on && <input aria-label={`Weight of ${lora.name}`} type="number" min={0} max={2} step={0.1} value={on.multiplier} onChange={(event) => (chosen.value = chosen.value.map((item) => (item === on ? { ...item, multiplier: Number(event.currentTarget.value) } : item)))} />}</div>;
                })}
              </div>
            </details>
          )}
          <div class="row">
            {busy ? <Button icon="stop" onClick={() => job.stop()}>Cancel</Button> : <Button kind="primary" disabled={reason !== ""} reason={reason || undefined} onClick={go}>Generate</Button>}
            <Button disabled={busy} onClick={() => { pictures.value = []; job.error.value = ""; prompt.value = ""; }}>Clear</Button>
            {busy && <span class="muted num" role="status">{job.elapsed.value.toFixed(0)} s</span>}
          </div>
          {job.error.value && <ErrorNote text={job.error.value} retry={go} />}
        </div>
      </Card>
      <Card title="Result">
        <div class="body">
          {pictures.value.length === 0 ? <Empty>{busy ? "Working…" : "Pictures appear here"}</Empty> : (
            <div class={pictures.value.length === 1 ? "images one" : "images"}>{pictures.value.map((address, i) => <figure key={i} class="tight"><button type="button" class="button quiet" aria-label={`Show picture ${i + 1} in full`} onClick={() => (full.value = address)}><img src={address} alt={`Generated ${i + 1}`} /></button><Button small icon="download" onClick={() => download(address, i)}>Download</Button></figure>)}</div>
          )}
          {history.value.length > 0 && (
            <div class="tight" role="group" aria-label="Made before">
              <div class="row"><h3>Made before</h3><span class="muted small">while this page is open</span><span class="push" /><Button small kind="quiet" icon="trash" onClick={() => (history.value = [])}>Forget</Button></div>
              <div class="thumbs">{history.value.map((made, i) => <button key={i} type="button" class="button quiet" title={`${made.prompt}\n${made.model}, ${made.at.toLocaleTimeString()}`} aria-label={`Show again: ${made.prompt.slice(0, 80)}`} onClick={() => { pictures.value = [made.address]; prompt.value ||= made.prompt; }}><img src={made.address} alt="" /></button>)}</div>
            </div>
          )}
        </div>
      </Card>
      {full.value && <Dialog wide title="Picture" onClose={() => (full.value = "")}><img class="overlay-image" src={full.value} alt="Generated, full size" /></Dialog>}
    </div>
  );
}
