// The last lines of one log source: whole lines, bounded, and each with the colours in force where
// it begins, so that any line can be drawn alone.
import { PLAIN, styleAfter, type Style } from "./ansi";

export interface LogLine {
  text: string;
  start: Style;
  /** A line of ours (reconnected, dropped, gap), not of the source. */
  rule?: boolean;
}

const MAX_LINES = 20_000;
const MAX_CHARS = 8 * 1024 * 1024;
const OVERLAP = 4096;

export class LogRing {
  lines: LogLine[] = [];
  /** Absolute number of the first line held: grows as lines are dropped. */
  first = 0;
  private chars = 0;
  private open = false;
  private style: Style = PLAIN;

  constructor(private readonly maxLines = MAX_LINES) {}

  get end(): number {
    return this.first + this.lines.length;
  }

  append(text: string): void {
    const parts = text.split("\n");
    for (let i = 0; i < parts.length; i++) {
      const last = i === parts.length - 1;
      if (last && parts[i] === "") break;
      this.extend(parts[i]!);
      if (!last) this.close();
    }
    this.trim();
  }

  rule(text: string): void {
    if (this.open) this.close();
    this.lines.push({ text, start: PLAIN, rule: true });
    this.chars += text.length;
  }

  clear(): void {
    this.first += this.lines.length;
    this.lines = [];
    this.chars = 0;
    this.open = false;
  }

  /** Join a history that was read anew: only what is not here yet is added, after a rule if there is a `mark`. */
  join(history: string, mark: string): void {
    if (!this.lines.length) return this.append(history);
    const held = this.lines.filter((line) => !line.rule).slice(-200).map((line) => line.text).join("\n") + (this.open ? "" : "\n");
    const rest = afterOverlap(held, history);
    if (rest === null) {
      this.rule(mark ? `${mark} · gap` : "gap");
      this.append(history);
    } else {
      if (mark) this.rule(mark);
      this.append(rest);
    }
  }

  private extend(text: string): void {
    if (this.open) {
      const line = this.lines[this.lines.length - 1]!;
      line.text = collapsed(line.text + text);
      this.chars += text.length;
    } else {
      this.lines.push({ text: collapsed(text), start: this.style });
      this.chars += text.length;
      this.open = true;
    }
  }

  private close(): void {
    const line = this.lines[this.lines.length - 1]!;
    if (line.text.endsWith("\r")) line.text = line.text.slice(0, -1);
    if (line.text.includes("\u001b")) this.style = styleAfter(line.text, line.start);
    this.open = false;
  }

  private trim(): void {
    let drop = Math.max(0, this.lines.length - this.maxLines);
    let chars = this.chars;
    for (let i = 0; i < drop; i++) chars -= this.lines[i]!.text.length;
    while (chars > MAX_CHARS && drop < this.lines.length - 1) chars -= this.lines[drop++]!.text.length;
    if (!drop) return;
    this.lines.splice(0, drop);
    this.first += drop;
    this.chars = chars;
  }
}

/** A carriage return starts the line again: a progress bar is one line, not a thousand. */
function collapsed(text: string): string {
  const at = text.lastIndexOf("\r", text.length - 2);
  return at < 0 ? text : text.slice(at + 1);
}

/** What of `history` comes after the longest end of `held` that is in it; null: nothing in common. */
export function afterOverlap(held: string, history: string): string | null {
  for (let length = Math.min(held.length, OVERLAP); length >= 16; length = Math.floor(length / 2)) {
    const at = history.lastIndexOf(held.slice(-length));
    if (at >= 0) return history.slice(at + length);
  }
  return history.endsWith(held) || held.endsWith(history) ? "" : null;
}
