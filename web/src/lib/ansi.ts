// Terminal colours as spans. State carries from line to line; whatever is no colour is removed.

export interface Style {
  fg?: string;
  bg?: string;
  bold?: boolean;
  italic?: boolean;
  underline?: boolean;
  strike?: boolean;
}
export interface Run {
  text: string;
  style: Style;
}

export const PLAIN: Style = Object.freeze({});

// CSI …, OSC … (links, titles) ended by BEL or ST, and lone two-byte escapes
// eslint-disable-next-line no-control-regex
const ESCAPES = /\u001b\[([0-9;:?<=>!]*)([ -/]*)([@-~])|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|\u001b[@-Z\\^_]|\u001b$/g;
// eslint-disable-next-line no-control-regex
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001a\u001c-\u001f\u007f]/g;

export function runs(text: string, start: Style = PLAIN): Run[] {
  if (!text.includes("\u001b")) return [{ text: text.replace(CONTROLS, ""), style: start }];
  const found: Run[] = [];
  let style = start;
  let from = 0;
  const push = (piece: string) => {
    const clean = piece.replace(CONTROLS, "");
    if (!clean) return;
    const last = found[found.length - 1];
    if (last && same(last.style, style)) last.text += clean;
    else found.push({ text: clean, style });
  };
  for (const match of text.matchAll(ESCAPES)) {
    push(text.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[3] === "m" && !match[2]) style = applied(style, match[1] ?? "");
  }
  push(text.slice(from));
  return found;
}

export function styleAfter(text: string, start: Style): Style {
  let style = start;
  for (const match of text.matchAll(ESCAPES)) if (match[3] === "m" && !match[2]) style = applied(style, match[1] ?? "");
  return style;
}

export const stripped = (text: string): string => text.replace(ESCAPES, "").replace(CONTROLS, "");

function same(a: Style, b: Style): boolean {
  return a.fg === b.fg && a.bg === b.bg && a.bold === b.bold && a.italic === b.italic && a.underline === b.underline && a.strike === b.strike;
}

function applied(style: Style, params: string): Style {
  const codes = params.split(/[;:]/).map((code) => (code === "" ? 0 : Number(code)));
  let next: Style = { ...style };
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i]!;
    if (code === 0) next = {};
    else if (code === 1) next.bold = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = true;
    else if (code === 9) next.strike = true;
    else if (code === 22) delete next.bold;
    else if (code === 23) delete next.italic;
    else if (code === 24) delete next.underline;
    else if (code === 29) delete next.strike;
    else if (code === 39) delete next.fg;
    else if (code === 49) delete next.bg;
    else if (code >= 30 && code <= 37) next.fg = `c${code - 30}`;
    else if (code >= 90 && code <= 97) next.fg = `c${code - 82}`;
    else if (code >= 40 && code <= 47) next.bg = `c${code - 40}`;
    else if (code >= 100 && code <= 107) next.bg = `c${code - 92}`;
    else if (code === 38 || code === 48) {
      const [colour, used] = extended(codes.slice(i + 1));
      i += used;
      if (colour) next[code === 38 ? "fg" : "bg"] = colour;
    }
  }
  return Object.keys(next).length ? next : PLAIN;
}

/** A colour of the 256 or of the 16 million, and how many numbers it took. */
function extended(codes: number[]): [string | null, number] {
  if (codes[0] === 5) {
    const n = codes[1] ?? 0;
    if (n < 16) return [`c${n}`, 2];
    if (n < 232) {
      const step = (v: number) => (v === 0 ? 0 : 55 + 40 * v);
      const c = n - 16;
      return [hex(step(Math.floor(c / 36)), step(Math.floor(c / 6) % 6), step(c % 6)), 2];
    }
    if (n < 256) return [hex(8 + 10 * (n - 232), 8 + 10 * (n - 232), 8 + 10 * (n - 232)), 2];
    return [null, 2];
  }
  if (codes[0] === 2) return [hex(codes[1] ?? 0, codes[2] ?? 0, codes[3] ?? 0), 4];
  return [null, codes.length];
}

const hex = (r: number, g: number, b: number): string =>
  `#${[r, g, b].map((v) => Math.max(0, Math.min(255, Math.round(v) || 0)).toString(16).padStart(2, "0")).join("")}`;

/** `colour` moved towards black or white until it reads at 4.5:1 on `ground`. */
export function legible(colour: string, ground: string, wanted = 4.5): string {
  const dark = luminance(ground) < 0.2;
  let [r, g, b] = parts(colour);
  for (let i = 0; i < 24 && contrast(hex(r, g, b), ground) < wanted; i++) {
    const towards = dark ? 255 : 0;
    [r, g, b] = [r, g, b].map((v) => v + (towards - v) * 0.12) as [number, number, number];
  }
  return hex(r, g, b);
}

const parts = (colour: string): [number, number, number] =>
  [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)) as [number, number, number];

export function luminance(colour: string): number {
  const [r, g, b] = parts(colour).map((v) => {
    const s = v / 255;
    return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export function contrast(a: string, b: string): number {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}
