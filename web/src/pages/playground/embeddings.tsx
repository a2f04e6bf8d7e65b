import { signal } from "@preact/signals";
import { postJson } from "../../wire/api";
import { prefs, setPref } from "../../state/prefs";
import { count } from "../../lib/format";
import { Button, Card, CopyButton, Empty, ErrorNote, Field } from "../../ui/basics";
import { Job } from "./job";
import { NoModels, Picker, whyNot } from "./picker";

const job = new Job("embeddings");
const written = signal("a cat on a mat\na dog on a rug\nthe price of copper");
const vectors = signal<number[][]>([]);
const texts = signal<string[]>([]);
const tokens = signal<number | null>(null);

export function cosine(a: number[], b: number[]): number {
  let dot = 0;
  let x = 0;
  let y = 0;
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    dot += a[i]! * b[i]!;
    x += a[i]! ** 2;
    y += b[i]! ** 2;
  }
  return x && y ? dot / Math.sqrt(x * y) : 0;
}

async function embed(stop: AbortSignal): Promise<void> {
  const input = written.peek().split("\n").map((line) => line.trim()).filter(Boolean);
  const answer = (await (await postJson("/v1/embeddings", { model: prefs.peek().embeddingsModel, input }, stop)).json()) as { data?: { embedding?: unknown; index?: number }[]; usage?: { total_tokens?: number; prompt_tokens?: number } };
  const data = [...(answer.data ?? [])].sort((a, b) => (a.index ?? 0) - (b.index ?? 0));
  vectors.value = data.map((item) => (Array.isArray(item.embedding) ? item.embedding.flat().filter((value): value is number => typeof value === "number") : []));
  if (!vectors.value.some((vector) => vector.length)) throw new Error("The answer holds no vectors.");
  texts.value = input;
  tokens.value = answer.usage?.total_tokens ?? answer.usage?.prompt_tokens ?? null;
}

export function Embeddings() {
  const busy = job.busy.value;
  const p = prefs.value;
  const reason = whyNot(p.embeddingsModel) || (written.value.trim() ? "" : "Write a text first");
  const list = vectors.value;
  return (
    <Card title="Embeddings">
      <div class="body stack">
        <NoModels />
        <Picker value={p.embeddingsModel} disabled={busy} onChange={(id) => setPref("embeddingsModel", id)} />
        <Field label="Texts, one a line"><textarea rows={5} disabled={busy} value={written.value} onInput={(event) => (written.value = event.currentTarget.value)} /></Field>
        <div class="row wrap">
          {busy ? <Button icon="stop" onClick={() => job.stop()}>Cancel</Button> : <Button kind="primary" disabled={reason !== ""} reason={reason || undefined} onClick={() => void job.run(embed)}>Compare</Button>}
          {list.length > 0 && <CopyButton label="Copy as JSON" text={() => JSON.stringify(list)} />}
          {list.length > 0 && <span class="muted small">{list[0]!.length} numbers each{tokens.value !== null && ` · ${count(tokens.value)} tokens`}</span>}
        </div>
        {job.error.value && <ErrorNote text={job.error.value} retry={() => void job.run(embed)} />}
        {list.length === 0 ? <Empty>How alike the texts are appears here</Empty> : (
          <div class="scroll-x" tabIndex={0} role="group" aria-label="Similarity">
            <table class="table heat">
              <thead><tr><th>Text</th><th class="num">First numbers</th>{list.map((_, i) => <th key={i} class="num">{i + 1}</th>)}</tr></thead>
              <tbody>{list.map((vector, i) => <tr key={i}><th scope="row">{i + 1} · {texts.value[i]?.slice(0, 40)}</th><td class="mono">{vector.slice(0, 3).map((value) => value.toFixed(3)).join(", ")}</td>{list.map((other, j) => { const value = cosine(vector, other); return <td key={j} style={{ background: `color-mix(in srgb, var(--accent-solid) ${Math.round(Math.max(0, value) * 22)}%, transparent)`, color: "var(--strong)" }}>{value.toFixed(3)}</td>; })}</tr>)}</tbody>
            </table>
          </div>
        )}
      </div>
    </Card>
  );
}
