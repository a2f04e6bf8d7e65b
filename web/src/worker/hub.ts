// Owns the one event stream of this browser and tells every tab what came. It runs in a
// SharedWorker; where there is none, in the page itself. It knows no DOM.
import { SseParser } from "../wire/sse";
import type { EventMessage } from "../wire/types";

export type Connection = "connecting" | "connected" | "disconnected" | "unauthorised" | "released";

export type ToHub =
  | { kind: "topics"; topics: string[] }
  | { kind: "hidden"; hidden: boolean }
  | { kind: "retry" }
  | { kind: "alive" }
  | { kind: "bye" };

export type FromHub =
  | { kind: "status"; status: Connection; retryAt: number; since: number }
  | { kind: "events"; reset: boolean; events: EventMessage[] };

export interface Timing {
  /** ms without a byte after which a stream counts as dead; the server pings every 15 s. */
  silence: number;
  /** ms with no visible tab after which the stream is given back. */
  release: number;
  /** ms without a word from a tab after which it counts as closed (no event tells). */
  gone: number;
}
export const TIMING: Timing = { silence: 45_000, release: 300_000, gone: 180_000 };

const BACKOFF = [1_000, 2_000, 4_000, 5_000];
const GATHER = 300;
/** ms between two deliveries to the tabs: ten a second look alive and cost little. */
const FLUSH = 100;
const LOG_REPLAY = 400_000;
const PERF_REPLAY = 720;
const DECISIONS_REPLAY = 200;
const BASE_TOPICS = ["models", "inflight", "activity", "config", "profile", "perf", "decisions"];

export interface Port {
  post(message: FromHub): void;
}

interface Tab {
  port: Port;
  topics: Set<string>;
  hidden: boolean;
  heard: number;
}

/** What a tab that comes late must be told: the newest of each kind. */
class Snapshot {
  private readonly newest = new Map<string, EventMessage>();
  private inflight = new Map<string, unknown>();
  private readonly logs = new Map<string, string>();
  private readonly tails = new Map<string, EventMessage[]>();

  clear(): void {
    this.newest.clear();
    this.inflight = new Map();
    this.logs.clear();
    this.tails.clear();
  }

  add(event: EventMessage): void {
    try {
      if (event.type === "inflight") this.addInflight(JSON.parse(event.data));
      else if (event.type === "logData") this.addLog(JSON.parse(event.data));
      else if (event.type === "perf") this.addTail(event, PERF_REPLAY);
      else if (event.type === "decision") this.addTail(event, DECISIONS_REPLAY);
      else if (["modelStatus", "uiConfig", "profileChanged"].includes(event.type)) this.newest.set(event.type, event);
    } catch {
      // the tabs count what cannot be read
    }
  }

  replay(logs: boolean): EventMessage[] {
    const events = [...this.newest.values(), ...[...this.tails.values()].flat()];
    events.push({ type: "inflight", data: JSON.stringify({ operation: "snapshot", requests: [...this.inflight.values()] }) });
    if (logs)
      for (const [source, data] of this.logs) events.push({ type: "logData", data: JSON.stringify({ source, data }) });
    return events;
  }

  private addInflight(change: { operation?: string; requests?: { id: string }[]; request?: { id: string }; id?: string }): void {
    if (change.operation === "snapshot" && Array.isArray(change.requests))
      this.inflight = new Map(change.requests.map((request) => [request.id, request]));
    else if (change.operation === "upsert" && change.request) this.inflight.set(change.request.id, change.request);
    else if (change.operation === "remove" && change.id) this.inflight.delete(change.id);
  }

  private addLog(chunk: { source: string; data: string }): void {
    const whole = (this.logs.get(chunk.source) ?? "") + chunk.data;
    this.logs.set(chunk.source, whole.length > 2 * LOG_REPLAY ? whole.slice(whole.indexOf("\n", whole.length - LOG_REPLAY) + 1) : whole);
  }

  private addTail(event: EventMessage, limit: number): void {
    const tail = this.tails.get(event.type) ?? [];
    tail.push(event);
    if (tail.length > limit) tail.splice(0, tail.length - limit);
    this.tails.set(event.type, tail);
  }
}

export class Hub {
  private readonly tabs = new Map<Port, Tab>();
  private readonly snapshot = new Snapshot();
  private status: Connection = "connecting";
  private since = Date.now();
  private attempts = 0;
  private retryAt = 0;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private stream: AbortController | undefined;
  private topics = "";
  private pending: EventMessage[] = [];
  private flushTimer: ReturnType<typeof setTimeout> | undefined;
  private hiddenSince = 0;

  constructor(
    private readonly address: string,
    private readonly timing: Timing = TIMING,
  ) {
    setInterval(() => this.housekeeping(), Math.min(5_000, timing.release, timing.silence));
  }

  attach(port: Port): void {
    this.tabs.set(port, { port, topics: new Set(), hidden: false, heard: Date.now() });
    port.post(this.statusMessage());
    if (this.status === "connected") port.post({ kind: "events", reset: true, events: this.snapshot.replay(false) });
    this.reconsider();
  }

  hear(port: Port, message: ToHub): void {
    const tab = this.tabs.get(port);
    if (!tab) return;
    tab.heard = Date.now();
    if (message.kind === "bye") this.tabs.delete(port);
    else if (message.kind === "retry") return this.connect();
    else if (message.kind === "hidden") tab.hidden = message.hidden;
    else if (message.kind === "topics") {
      const wantsLogs = message.topics.includes("logs") && !tab.topics.has("logs");
      tab.topics = new Set(message.topics);
      const running = this.topics.includes("logs") && this.status === "connected";
      if (wantsLogs && running) port.post({ kind: "events", reset: true, events: this.snapshot.replay(true) });
    }
    this.reconsider();
  }

  /** Open, exchange or give back the stream, according to what the tabs want now. */
  private reconsider(): void {
    const wanted = this.wantedTopics();
    if (!this.stream && !this.retryTimer && this.status !== "unauthorised" && this.anyVisible()) return this.connect();
    if (this.stream && this.status === "connected" && wanted !== this.topics) this.open();
  }

  private anyVisible(): boolean {
    return [...this.tabs.values()].some((tab) => !tab.hidden);
  }

  private wantedTopics(): string {
    const extra = new Set([...this.tabs.values()].flatMap((tab) => (tab.hidden ? [] : [...tab.topics])));
    return [...new Set([...BASE_TOPICS, ...[...extra].sort()])].join(",");
  }

  private housekeeping(): void {
    const now = Date.now();
    for (const tab of this.tabs.values()) if (now - tab.heard > this.timing.gone) this.tabs.delete(tab.port);
    if (this.anyVisible()) this.hiddenSince = 0;
    else this.hiddenSince ||= now;
    if (this.stream && this.hiddenSince && now - this.hiddenSince >= this.timing.release) this.giveBack();
  }

  private giveBack(): void {
    this.stream?.abort();
    this.stream = undefined;
    this.setStatus("released");
  }

  private connect(): void {
    clearTimeout(this.retryTimer);
    this.retryTimer = undefined;
    if (this.status !== "disconnected") this.setStatus("connecting");
    this.open();
  }

  /** Start a stream; the one it follows on ends when the new one has told its snapshot. */
  private open(): void {
    const before = this.stream;
    const stream = new AbortController();
    this.stream = stream;
    this.topics = this.wantedTopics();
    const finish = (status: Connection) => {
      before?.abort();
      if (this.stream === stream) this.lost(status);
    };
    this.read(stream, () => before?.abort()).then(finish, () => finish("disconnected"));
  }

  private async read(stream: AbortController, ready: () => void): Promise<Connection> {
    let quiet: ReturnType<typeof setTimeout> | undefined;
    const listen = () => {
      clearTimeout(quiet);
      quiet = setTimeout(() => stream.abort(), this.timing.silence);
    };
    listen();
    try {
      const answer = await fetch(`${this.address}?topics=${this.topics}`, {
        signal: stream.signal,
        headers: { Accept: "text/event-stream" },
        cache: "no-store",
      });
      if (answer.status === 401 || answer.status === 403) return "unauthorised";
      if (!answer.ok || !answer.body) return "disconnected";
      const reader = answer.body.getReader();
      const parser = new SseParser();
      let first: EventMessage[] | null = [];
      let gathering: ReturnType<typeof setTimeout> | undefined;
      const begin = () => {
        clearTimeout(gathering);
        if (first === null || stream.signal.aborted) return;
        this.begin(first);
        first = null;
        ready();
      };
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return "disconnected";
        listen();
        const events = parser.feed(value).map((frame) => parseFrame(frame.data));
        if (first === null) this.enqueue(events);
        else {
          first.push(...events);
          if (has(first, "modelStatus") && has(first, "inflight")) begin();
          else if (has(first, "modelStatus")) gathering ??= setTimeout(begin, GATHER);
        }
      }
    } finally {
      clearTimeout(quiet);
    }
  }

  private begin(events: EventMessage[]): void {
    this.attempts = 0;
    this.retryAt = 0;
    this.pending = [];
    this.snapshot.clear();
    for (const event of events) this.snapshot.add(event);
    this.setStatus("connected");
    this.tell(events, true);
    this.reconsider(); // a tab may have asked for more while this stream was being opened
  }

  private lost(status: Connection): void {
    this.stream = undefined;
    if (status === "unauthorised") return this.setStatus("unauthorised");
    const pause = BACKOFF[Math.min(this.attempts, BACKOFF.length - 1)]! * (0.8 + 0.4 * Math.random());
    this.attempts += 1;
    this.retryAt = Date.now() + pause;
    this.retryTimer = setTimeout(() => this.connect(), pause);
    this.setStatus("disconnected");
  }

  private enqueue(events: EventMessage[]): void {
    for (const event of events) {
      this.snapshot.add(event);
      this.pending.push(event);
    }
    this.flushTimer ??= setTimeout(() => {
      this.flushTimer = undefined;
      const events = withoutOutdated(this.pending);
      this.pending = [];
      if (events.length) this.tell(events, false);
    }, FLUSH);
  }

  private tell(events: EventMessage[], reset: boolean): void {
    const quiet = events.filter((event) => event.type !== "logData");
    for (const tab of this.tabs.values()) {
      const list = tab.topics.has("logs") ? events : quiet;
      if (list.length || reset) tab.port.post({ kind: "events", reset, events: list });
    }
  }

  private setStatus(status: Connection): void {
    if (status !== this.status) this.since = Date.now();
    this.status = status;
    for (const tab of this.tabs.values()) tab.port.post(this.statusMessage());
  }

  private statusMessage(): FromHub {
    return { kind: "status", status: this.status, retryAt: this.retryAt, since: this.since };
  }
}

/** Of several complete lists of models only the last matters. */
function withoutOutdated(events: EventMessage[]): EventMessage[] {
  const last = events.findLastIndex((event) => event.type === "modelStatus");
  return events.filter((event, i) => event.type !== "modelStatus" || i === last);
}

const has = (events: EventMessage[], type: string): boolean => events.some((event) => event.type === type);

function parseFrame(data: string): EventMessage {
  try {
    const raw = JSON.parse(data) as { type?: unknown; data?: unknown };
    if (typeof raw.type === "string" && typeof raw.data === "string") return { type: raw.type, data: raw.data };
  } catch {
    // falls through to the marker below
  }
  return { type: "malformed", data: "" };
}
