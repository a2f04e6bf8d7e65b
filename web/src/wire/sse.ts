// Server-sent events from bytes: split UTF-8, CRLF, comments, several data lines, with or without a space.

export interface SseFrame {
  event: string;
  data: string;
  id: string;
}

export class SseParser {
  private readonly decoder = new TextDecoder();
  private rest = "";
  private event = "";
  private data: string[] = [];
  private id = "";

  /** The frames that `bytes` completes. */
  feed(bytes: Uint8Array): SseFrame[] {
    return this.take(this.decoder.decode(bytes, { stream: true }));
  }

  /** The frame an unfinished last line may hold: servers that end without a blank line exist. */
  end(): SseFrame[] {
    return this.take(`${this.decoder.decode()}\n\n`);
  }

  private take(text: string): SseFrame[] {
    const frames: SseFrame[] = [];
    this.rest += text;
    let from = 0;
    for (;;) {
      const end = this.rest.indexOf("\n", from);
      if (end < 0) break;
      const line = this.rest.slice(from, this.rest[end - 1] === "\r" && end > from ? end - 1 : end);
      from = end + 1;
      const frame = this.line(line);
      if (frame) frames.push(frame);
    }
    this.rest = this.rest.slice(from);
    return frames;
  }

  private line(line: string): SseFrame | null {
    if (line === "") {
      if (!this.data.length) {
        this.event = "";
        return null;
      }
      const frame = { event: this.event || "message", data: this.data.join("\n"), id: this.id };
      this.event = "";
      this.data = [];
      return frame;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") this.data.push(value);
    else if (field === "event") this.event = value;
    else if (field === "id") this.id = value;
    return null;
  }
}
