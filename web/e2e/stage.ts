// A server in front of the real program that can misbehave on order: it passes everything through,
// answers chosen routes itself, and holds, scripts, counts or drops the event stream.
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Seen {
  method: string;
  path: string;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
  at: number;
  /** What was answered, once it was. */
  status?: number;
}
type Answer = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void | Promise<void>;
interface Rule {
  method: string;
  path: RegExp;
  answer: Answer;
}

export type EventMode = "pass" | "scripted" | "held" | "refused";

export class Stage {
  readonly seen: Seen[] = [];
  events: EventMode = "pass";
  /** What a scripted stream tells first; logs only to those who asked for them, like the real program. */
  opening: [string, unknown][] = [];
  /** Times at which an event stream was asked for. */
  attempts: number[] = [];
  /** Text put into the head of the page, for the limits a test shortens. */
  timing = "";
  /** The event streams that are open, with what each was asked for. */
  readonly streams = new Map<ServerResponse, string>();
  private readonly rules: Rule[] = [];
  private readonly server: http.Server;
  url = "";

  constructor(
    /** Where what is not answered here goes; a test may exchange it. */
    public upstream: string,
    private readonly mount = "",
  ) {
    this.server = http.createServer((request, response) => void this.handle(request, response));
  }

  async start(host = "127.0.0.1"): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, host, resolve));
    this.url = `http://${host}:${(this.server.address() as AddressInfo).port}`;
    return this;
  }

  async stop(): Promise<void> {
    this.drop();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** Answer a route here; the newest rule wins. `answer`: a function, or JSON with a status. */
  on(method: string, path: RegExp, answer: Answer | { status?: number; json?: unknown; text?: string; type?: string; delay?: number }): void {
    const run: Answer =
      typeof answer === "function"
        ? answer
        : async (_, response) => {
            if (answer.delay) await new Promise((resolve) => setTimeout(resolve, answer.delay));
            const text = answer.text ?? JSON.stringify(answer.json ?? {});
            response.writeHead(answer.status ?? 200, { "Content-Type": answer.type ?? (answer.text === undefined ? "application/json" : "text/plain") });
            response.end(text);
          };
    this.rules.unshift({ method, path, answer: run });
  }

  off(): void {
    this.rules.length = 0;
  }

  send(type: string, data: unknown): void {
    this.raw(`event:message\ndata:${JSON.stringify({ type, data: JSON.stringify(data) })}\n\n`);
  }

  raw(text: string): void {
    for (const stream of this.streams.keys()) stream.write(text);
  }

  /** Whether one stream is open, the one that an exchange of topics ends with. */
  tells(topic: string): boolean {
    const [path, ...others] = this.streams.values();
    return others.length === 0 && path !== undefined && path.includes(topic);
  }

  /** Wait until the streams have taken what was written. */
  async drained(): Promise<void> {
    await Promise.all([...this.streams.keys()].filter((stream) => stream.writableNeedDrain).map((stream) => new Promise<void>((resolve) => {
      const done = () => {
        stream.off("drain", done).off("close", done);
        resolve();
      };
      stream.on("drain", done).on("close", done);
    })));
  }

  drop(): void {
    for (const stream of this.streams.keys()) stream.destroy();
    this.streams.clear();
  }

  requests(method: string, path: RegExp): Seen[] {
    return this.seen.filter((item) => item.method === method && path.test(item.path));
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    let path = request.url ?? "/";
    if (this.mount) {
      if (!path.startsWith(`${this.mount}/`)) {
        this.seen.push({ method: request.method ?? "", path: `OUTSIDE ${path}`, headers: request.headers, body, at: Date.now() });
        response.writeHead(404).end("outside the mount");
        return;
      }
      path = path.slice(this.mount.length);
    }
    const seen: Seen = { method: request.method ?? "", path, headers: request.headers, body, at: Date.now() };
    this.seen.push(seen);
    response.on("close", () => (seen.status = response.statusCode));
    const rule = this.rules.find((item) => item.method === request.method && item.path.test(path));
    if (rule) return rule.answer(request, response, body);
    if (/^\/api\/events(\?|$)/.test(path)) {
      this.attempts.push(Date.now());
      if (this.events !== "pass") return this.stream(response, path);
    }
    this.forward(request, response, path, body);
  }

  private stream(response: ServerResponse, path: string): void {
    if (this.events === "refused") {
      // a reset would be tried again by the browser itself, unseen by the page
      response.writeHead(503).end();
      return;
    }
    this.streams.set(response, path);
    response.on("close", () => this.streams.delete(response));
    if (this.events === "held") return;
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
    response.flushHeaders();
    const topics = new URLSearchParams(path.split("?")[1]).get("topics");
    const told = this.opening.filter(([type]) => type !== "logData" || topics === null || topics.split(",").includes("logs"));
    for (const [type, data] of told) response.write(`event:message\ndata:${JSON.stringify({ type, data: JSON.stringify(data) })}\n\n`);
  }

  private forward(request: IncomingMessage, response: ServerResponse, path: string, body: Buffer): void {
    const target = new URL(this.upstream);
    const headers = { ...request.headers };
    if (this.mount) headers["x-forwarded-prefix"] = this.mount;
    const isPage = this.timing !== "" && (headers["accept"] ?? "").includes("text/html") && path.startsWith("/ui");
    if (isPage) {
      delete headers["accept-encoding"];
      delete headers["if-none-match"];
    }
    const onward = http.request({ host: target.hostname, port: target.port, method: request.method, path, headers, agent: false }, (answer) => {
      if (isPage) {
        const parts: Buffer[] = [];
        answer.on("data", (part: Buffer) => parts.push(part));
        answer.on("end", () => {
          const page = Buffer.concat(parts).toString().replace("<title>", `<meta name="llamaswap-timing" content="${this.timing}"><title>`);
          const own = { ...answer.headers };
          delete own["content-length"];
          delete own["etag"];
          response.writeHead(answer.statusCode ?? 502, own).end(page);
        });
        return;
      }
      const own = { ...answer.headers };
      if (this.mount && own.location?.startsWith("/") && !own.location.startsWith(this.mount)) own.location = this.mount + own.location;
      response.writeHead(answer.statusCode ?? 502, own);
      answer.pipe(response);
      answer.on("error", () => response.destroy());
    });
    if (/^\/api\/events(\?|$)/.test(path)) {
      this.streams.set(response, path);
      response.on("close", () => this.streams.delete(response));
    }
    onward.on("error", () => {
      if (!response.headersSent) response.writeHead(502);
      response.end();
    });
    response.on("close", () => onward.destroy());
    onward.end(body);
  }
}
