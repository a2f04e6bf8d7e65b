// A recorded request and its answer. Bodies are text in the page, never HTML.
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { api, ApiError, root } from "../wire/api";
import { Reply } from "../wire/completion";
import { SseParser } from "../wire/sse";
import type { Activity, Capture } from "../wire/types";
import { conversationOf, pretty, type Conversation } from "../lib/conversation";
import { contentType, decodeBody, type Body } from "../lib/bodies";
import { bytes, count, seconds, speed } from "../lib/format";
import { go, href } from "../state/router";
import { handOver } from "../state/handover";
import { Button, Chip, CopyButton, Dialog, Empty, ErrorNote, Segmented, Skeletons } from "./basics";
import { Status } from "./status";

const BIG = 1024 * 1024;
const SHOWN_OF_BIG = 200_000;

export function CaptureDialog({ id, row, onClose, previous, next }: { id: number; row: Activity | null; onClose: () => void; previous: (() => void) | null; next: (() => void) | null }) {
  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      if ((event.target as HTMLElement).matches("input,textarea,select")) return;
      if (event.key === "ArrowLeft") previous?.();
      if (event.key === "ArrowRight") next?.();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, [previous, next]);
  const footer = (
    <>
      <Button icon="left" label="Previous capture" disabled={!previous} onClick={() => previous?.()} />
      <Button icon="right" label="Next capture" disabled={!next} onClick={() => next?.()} />
      <a class="button" href={href(`captures/${id}`)}>Open as page</a>
    </>
  );
  return (
    <Dialog wide title={`Capture #${id}`} onClose={onClose} footer={footer}>
      <CaptureView key={id} id={String(id)} row={row} />
    </Dialog>
  );
}

export function CaptureView({ id, row }: { id: string; row: Activity | null }) {
  const capture = useSignal<Capture | null>(null);
  const problem = useSignal<{ text: string; missing: boolean } | null>(null);
  const attempt = useSignal(0);
  useEffect(() => {
    const stop = new AbortController();
    problem.value = null;
    api.capture(id, stop.signal).then(
      (got) => (capture.value = got),
      (error: unknown) => {
        if (stop.signal.aborted) return;
        const missing = error instanceof ApiError && error.status === 404;
        problem.value = { missing, text: missing ? "Capture not found. It may have expired or was never recorded." : `The capture could not be read: ${error instanceof Error ? error.message : String(error)}` };
      },
    );
    return () => stop.abort();
  }, [id, attempt.value]);
  const failed = row?.error_msg ? <div class="notice" role="note"><Status code={row.resp_status_code} />{row.error_msg}</div> : null;
  if (problem.value) return <>{failed}{problem.value.missing ? <Empty>{problem.value.text}</Empty> : <ErrorNote text={problem.value.text} retry={() => (attempt.value += 1)} />}</>;
  if (!capture.value) return <>{failed}<Skeletons rows={6} label="Loading the capture" /></>;
  return <>{failed}<Shown capture={capture.value} row={row} /></>;
}

function Shown({ capture, row }: { capture: Capture; row: Activity | null }) {
  const request = useMemo(() => decodeBody(capture.req_body, contentType(capture.req_headers)), [capture]);
  const response = useMemo(() => decodeBody(capture.resp_body, contentType(capture.resp_headers)), [capture]);
  const json = useMemo(() => parsed(request?.text), [request]);
  const chat = json !== undefined && /chat\/completions|messages|responses/.test(capture.req_path);
  return (
    <div class="stack">
      <div class="row wrap">
        <code>{capture.req_path}</code>
        <span class="push" />
        <CopyButton label="Copy as curl" text={() => curl(capture, request?.text ?? null)} />
        {chat && <Button small icon="playground" onClick={() => { handOver.value = json; go("playground/chat"); }}>Open in playground</Button>}
      </div>
      {row && <Figures row={row} />}
      <Headers title="Request headers" headers={capture.req_headers} />
      <BodyView title="Request body" body={request} conversation={json === undefined ? null : conversationOf(json)} />
      <Headers title="Response headers" headers={capture.resp_headers} />
      <BodyView title="Response body" body={response} answer />
    </div>
  );
}

function Figures({ row }: { row: Activity }) {
  const { tokens } = row;
  const said = (value: number) => (value >= 0 ? count(value) : "not reported by the server");
  return (
    <dl class="mini">
      <div><dt>Status</dt><dd><Status code={row.resp_status_code} /></dd></div>
      <div><dt>Prompt</dt><dd>{said(tokens.input_tokens)}</dd></div>
      <div><dt>Cached</dt><dd>{said(tokens.cache_tokens)}</dd></div>
      <div><dt>Generated</dt><dd>{said(tokens.output_tokens)}</dd></div>
      <div><dt>Prefill</dt><dd>{speed(tokens.prompt_per_second)}</dd></div>
      <div><dt>Decode</dt><dd>{speed(tokens.tokens_per_second)}</dd></div>
      <div><dt>Duration</dt><dd>{seconds(row.duration_ms)}</dd></div>
    </dl>
  );
}

function Headers({ title, headers }: { title: string; headers: Record<string, string> | null }) {
  const list = Object.entries(headers ?? {});
  return (
    <details open>
      <summary>{title}</summary>
      {list.length === 0 ? <p class="muted">(empty)</p> : <table class="table headers mono"><tbody>{list.map(([name, value]) => <tr key={name}><td>{name}</td><td>{value}</td></tr>)}</tbody></table>}
    </details>
  );
}

const parsed = (text: string | null | undefined): unknown => {
  if (!text) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
};

function BodyView({ title, body, conversation = null, answer = false }: { title: string; body: Body | null; conversation?: Conversation | null; answer?: boolean }) {
  const json = useMemo(() => parsed(body?.text), [body]);
  const reply = useMemo(() => (answer && body?.text ? replyOf(body.text, body.type, json) : null), [body]);
  const views: [string, string][] = [];
  if (conversation || reply) views.push(["chat", conversation ? "Conversation" : "Chat"]);
  if (json !== undefined) views.push(["pretty", "Pretty"]);
  if (body?.text !== null && body !== null) views.push(["raw", "Raw"]);
  const view = useSignal(views[0]?.[0] ?? "raw");
  const shown = view.value === "pretty" ? JSON.stringify(json, null, 2) : (body?.text ?? "");
  const toCopy = () => (view.value === "chat" ? (reply ? [reply.reasoning, reply.text].filter(Boolean).join("\n\n") : (conversation?.turns.map((turn) => turn.parts.map((part) => part.text).join("\n")).join("\n\n") ?? "")) : shown);
  return (
    <details open>
      <summary>{title} {body && <span class="muted small">{bytes(body.bytes)}</span>}</summary>
      {!body ? <p class="muted">(empty)</p> : (
        <div class="tight">
          {body.text !== null && <div class="row wrap">{views.length > 1 && <Segmented label={`View of the ${title.toLowerCase()}`} value={view.value} options={views} onChange={(value) => (view.value = value)} />}<span class="push" /><CopyButton text={toCopy} /></div>}
          {body.text === null ? <Binary body={body} /> : view.value === "chat" && conversation ? <Turns conversation={conversation} /> : view.value === "chat" && reply ? <Answer reply={reply} /> : <Text text={shown} />}
        </div>
      )}
    </details>
  );
}

function Binary({ body }: { body: Body }) {
  if (body.type.startsWith("image/") && body.type !== "image/svg+xml") return <img class="overlay-image" src={`data:${body.type};base64,${body.base64}`} alt="Captured response" />;
  return <p class="muted">(binary data – {body.type || "unknown type"})</p>;
}

function Text({ text }: { text: string }) {
  const whole = useSignal(text.length <= BIG);
  return (
    <>
      <pre class="code" tabIndex={0}>{whole.value ? text : text.slice(0, SHOWN_OF_BIG)}</pre>
      {!whole.value && <Button small onClick={() => (whole.value = true)}>Show all {bytes(text.length)}</Button>}
    </>
  );
}

function Turns({ conversation }: { conversation: Conversation }) {
  return (
    <div class="tight">
      {conversation.turns.map((turn, i) => (
        <details key={i} class={`turn ${turn.role}`} open={turn.role !== "system" || conversation.turns.length < 3}>
          <summary>{turn.role}</summary>
          {turn.parts.map((part, j) => part.kind === "image" ? <Picture key={j} source={part.text} /> : (
            <div key={j} class="tight">
              {part.kind === "call" && <Chip tone="info">calls {part.name}</Chip>}
              {part.kind === "result" && <Chip>result</Chip>}
              <pre class={part.kind === "text" ? "code plain" : "code"} tabIndex={0}>{part.text}</pre>
            </div>
          ))}
        </details>
      ))}
      {conversation.tools.length > 0 && <details><summary>{conversation.tools.length} tools</summary>{conversation.tools.map((tool) => <details key={tool.name}><summary>{tool.name}</summary><pre class="code" tabIndex={0}>{pretty(tool.schema)}</pre></details>)}</details>}
    </div>
  );
}

/** Pictures in the body are shown; remote ones stay where they are. */
function Picture({ source }: { source: string }) {
  return source.startsWith("data:image/") ? <img class="attached" src={source} alt="Sent with the request" /> : <p><Chip>remote image</Chip> <code>{source}</code></p>;
}

export function replyOf(text: string, type: string, json: unknown): Reply | null {
  const reply = new Reply();
  if (type.includes("event-stream") || /^(data|event):/m.test(text.slice(0, 200))) {
    const parser = new SseParser();
    for (const frame of [...parser.feed(new TextEncoder().encode(text)), ...parser.end()]) reply.frame(frame);
    return reply.frames ? reply : null;
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) return null;
  reply.take(json as Record<string, unknown>);
  return reply.text || reply.reasoning || reply.tools.length ? reply : null;
}

function Answer({ reply }: { reply: Reply }) {
  const { figures } = reply;
  return (
    <div class="tight">
      {reply.error && <ErrorNote text={reply.error} />}
      {reply.loading.trim() && <details class="turn"><summary>Loading notice</summary><pre class="code" tabIndex={0}>{reply.loading.trim()}</pre></details>}
      {reply.reasoning && <details class="turn" open><summary>Reasoning</summary><pre class="code" tabIndex={0}>{reply.reasoning}</pre></details>}
      {reply.text && <details class="turn" open><summary>Response</summary><pre class="code" tabIndex={0}>{reply.text}</pre></details>}
      {reply.tools.map((call, i) => <details class="turn" open key={i}><summary>Tool call <code>{call.name}</code></summary><pre class="code" tabIndex={0}>{pretty(call.args)}</pre></details>)}
      {(figures.prompt !== undefined || figures.generated !== undefined) && (
        <p class="muted small">{[figures.prompt !== undefined && `${count(figures.prompt)} prompt tokens`, figures.generated !== undefined && `${count(figures.generated)} generated`, figures.promptPerSecond && `prefill ${speed(figures.promptPerSecond)}`, figures.perSecond && `decode ${speed(figures.perSecond)}`].filter(Boolean).join(" · ")}</p>
      )}
    </div>
  );
}

/** The request again, for a terminal. A key never stands in it. */
export function curl(capture: Capture, body: string | null): string {
  const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
  const skip = new Set(["content-length", "host", "connection", "accept-encoding", "transfer-encoding"]);
  const lines = [`curl ${quote(location.origin + root + capture.req_path)}`];
  for (const [name, value] of Object.entries(capture.req_headers ?? {})) {
    if (skip.has(name.toLowerCase())) continue;
    lines.push(`  -H ${value === "[REDACTED]" ? (name.toLowerCase() === "authorization" ? `"Authorization: Bearer $API_KEY"` : `"${name}: $API_KEY"`) : quote(`${name}: ${value}`)}`);
  }
  if (body !== null) lines.push(`  --data-binary ${quote(body)}`);
  return lines.join(" \\\n");
}
