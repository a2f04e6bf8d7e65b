import { signal, useSignal } from "@preact/signals";
import { postJson } from "../../wire/api";
import { prefs, setPref } from "../../state/prefs";
import { count } from "../../lib/format";
import { Button, Card, ErrorNote, Field, Segmented } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { Job } from "./job";
import { NoModels, Picker, whyNot } from "./picker";

const QUERY = "What keeps a house cool in summer?";
const SAMPLE = [
  "External shutters stop the sun before it reaches the glass.",
  "Bread rises because yeast makes carbon dioxide.",
  "Thick walls take up heat by day and give it off at night.",
  "A bicycle chain needs oil every few hundred kilometres.",
  "Opening windows on both sides lets the night air through.",
  "The moon is about 384,000 km away.",
  "Trees on the south side shade the walls.",
  "White roofs reflect most of the light that falls on them.",
  "Chess was played in Persia in the seventh century.",
];

const job = new Job("rerank");
const query = signal(QUERY);
const documents = signal<string[]>([...SAMPLE, ""]);
const scores = signal<(number | null)[]>([]);
const tokens = signal<number | null>(null);
const sort = signal<"none" | "desc" | "asc">("desc");
const mode = signal<"table" | "json">("table");
const written = signal("");
const jsonProblem = signal("");

/** The last row is always an empty one. */
const padded = (list: string[]): string[] => (list.at(-1)?.trim() === "" ? list : [...list, ""]);

export function fromJson(text: string): { query: string; documents: string[] } {
  if (!text.trim()) return { query: "", documents: [] };
  const raw = JSON.parse(text) as { query?: unknown; documents?: unknown };
  if (typeof raw !== "object" || raw === null || !Array.isArray(raw.documents)) throw new Error('it must be {"query": text, "documents": [text]}');
  return { query: typeof raw.query === "string" ? raw.query : "", documents: raw.documents.map((item) => (typeof item === "string" ? item : JSON.stringify(item))) };
}

function toTable(): boolean {
  try {
    const got = fromJson(written.peek());
    query.value = got.query;
    documents.value = padded(got.documents.length ? got.documents : [""]);
    scores.value = [];
    jsonProblem.value = "";
    mode.value = "table";
    return true;
  } catch (error) {
    jsonProblem.value = `Not valid: ${error instanceof Error ? error.message : String(error)}`;
    return false;
  }
}

async function rank(stop: AbortSignal): Promise<void> {
  const list = documents.peek();
  const places = list.map((_, i) => i).filter((i) => list[i]!.trim());
  const answer = (await (await postJson("/v1/rerank", { model: prefs.peek().rerankModel, query: query.peek(), documents: places.map((i) => list[i]!) }, stop)).json()) as { results?: { index: number; relevance_score: number }[]; usage?: { total_tokens?: number } };
  const next: (number | null)[] = list.map(() => null);
  for (const item of answer.results ?? []) {
    const place = places[item.index];
    if (place !== undefined) next[place] = item.relevance_score;
  }
  scores.value = next;
  tokens.value = answer.usage?.total_tokens ?? null;
}

export function Rerank() {
  const busy = job.busy.value;
  const seen = useSignal(0);
  const p = prefs.value;
  const reason = whyNot(p.rerankModel) || (mode.value === "table" && !documents.value.some((text) => text.trim()) ? "Write a document first" : "");
  const order = documents.value.map((_, i) => i);
  if (sort.value !== "none") {
    const way = sort.value === "desc" ? -1 : 1;
    order.sort((a, b) => {
      const [x, y] = [scores.value[a] ?? null, scores.value[b] ?? null];
      if (x === null || y === null) return x === y ? a - b : x === null ? 1 : -1;
      return way * (x - y);
    });
  }
  const submit = () => {
    if (mode.peek() === "json" && !toTable()) return;
    void job.run(rank);
  };
  const change = (i: number, text: string) => {
    documents.value = padded(documents.value.map((item, at) => (at === i ? text : item)));
    seen.value += 1;
  };
  const remove = (i: number) => {
    documents.value = padded(documents.value.filter((_, at) => at !== i));
    scores.value = scores.value.filter((_, at) => at !== i);
  };
  return (
    <Card title="Rerank" actions={<Segmented label="Editor" value={mode.value} options={[["table", "Table"], ["json", "JSON"]]} onChange={(value) => { if (value === "table") toTable(); else { written.value = JSON.stringify({ query: query.value, documents: documents.value.filter((text) => text.trim()) }, null, 2); mode.value = "json"; } }} />}>
      <div class="body stack">
        <NoModels />
        <Picker value={p.rerankModel} disabled={busy} capabilities={["reranker"]} onChange={(id) => setPref("rerankModel", id)} />
        {mode.value === "json" ? (
          <Field label="Query and documents" error={jsonProblem.value || undefined}><textarea class="mono" rows={16} disabled={busy} value={written.value} onInput={(event) => (written.value = event.currentTarget.value)} /></Field>
        ) : (
          <>
            <Field label="Query"><input value={query.value} disabled={busy} onInput={(event) => (query.value = event.currentTarget.value)} /></Field>
            <table class="table rank">
              <thead><tr><th>Document</th><th class="num" aria-sort={sort.value === "none" ? "none" : sort.value === "desc" ? "descending" : "ascending"}><button type="button" onClick={() => (sort.value = sort.value === "none" ? "desc" : sort.value === "desc" ? "asc" : "none")}>Score{sort.value !== "none" && <Icon name={sort.value === "desc" ? "down" : "up"} />}</button></th><th><span class="visually-hidden">Remove</span></th></tr></thead>
              <tbody>{order.map((i) => <tr key={i}><td><input aria-label={`Document ${i + 1}`} value={documents.value[i]} disabled={busy} onInput={(event) => change(i, event.currentTarget.value)} /></td><td class="num">{scores.value[i]?.toFixed(3) ?? "–"}</td><td><Button small kind="quiet" icon="close" label={`Remove document ${i + 1}`} disabled={busy || documents.value.length <= 1} onClick={() => remove(i)} /></td></tr>)}</tbody>
            </table>
          </>
        )}
        <div class="row wrap">
          {busy ? <Button icon="stop" onClick={() => job.stop()}>Cancel</Button> : <Button kind="primary" disabled={reason !== ""} reason={reason || undefined} onClick={submit}>Rerank</Button>}
          <Button disabled={busy} onClick={() => { query.value = QUERY; documents.value = [...SAMPLE, ""]; scores.value = []; tokens.value = null; job.error.value = ""; }}>Clear</Button>
          {tokens.value !== null && <span class="muted small">{count(tokens.value)} tokens</span>}
        </div>
        {job.error.value && <ErrorNote text={job.error.value} retry={submit} />}
      </div>
    </Card>
  );
}
