// Values as people read them. The rules are web-ui §2.6.
import { prefs } from "../state/prefs";

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)}s`;

export const short = (ms: number, digits = 1): string => (ms < 1000 ? `${Math.round(ms)}ms` : `${(ms / 1000).toFixed(digits)}s`);

export const speed = (value: number): string => (value > 0 ? `${value.toFixed(2)} t/s` : "–");

export function relative(timestamp: string, now = Date.now()): string {
  const then = Date.parse(timestamp);
  if (Number.isNaN(then)) return "–";
  const age = Math.floor((now - then) / 1000);
  if (age < 5) return "now";
  if (age < 60) return `${age}s ago`;
  if (age < 3600) return `${Math.floor(age / 60)}m ago`;
  if (age < 86_400) return `${Math.floor(age / 3600)}h ago`;
  return absolute(timestamp);
}

const two = (value: number): string => String(value).padStart(2, "0");

export function absolute(timestamp: string | number): string {
  const at = new Date(timestamp);
  if (Number.isNaN(at.getTime())) return "–";
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(at)}`;
}

export function clock(at: Date | number | string): string {
  const date = at instanceof Date ? at : new Date(at);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export function bytes(value: number): string {
  if (value < 1024) return `${value} B`;
  const units = ["KB", "MB", "GB", "TB"];
  let size = value / 1024;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${size.toFixed(size >= 10 ? 1 : 2)} ${units[unit]}`;
}

export function capacity(value: number | null): string {
  if (value === null || !Number.isFinite(value) || value <= 0) return "Not detected";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = value;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  const digits = unit < 2 || size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return `${size.toFixed(digits)} ${units[unit]}`;
}

/** A share of memory, in the unit in which it is not nought. */
export const memory = (mb: number): string => (mb < 1024 ? `${Math.round(mb)} MiB` : `${gib(mb)} GiB`);
export const gib = (mb: number): string => (mb / 1024).toFixed(mb >= 102_400 ? 0 : 1);

export function contextLength(tokens: number): string {
  if (tokens <= 0) return "";
  if (tokens >= 1e6) return `${Math.round(tokens / 1e5) / 10}M`;
  if (tokens >= 1e3) return `${Math.round(tokens / 1e3)}K`;
  return String(tokens);
}

const grouped = new Intl.NumberFormat();

export const count = (value: number): string => (prefs.value.numbers === "plain" ? String(value) : grouped.format(value));

/** A count that may not have been reported. */
export const tokens = (value: number): string => (value > 0 ? count(value) : "–");

export function span(totalSeconds: number): string {
  const s = Math.max(0, Math.round(totalSeconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${two(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} m`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

export const CAPABILITIES: [string, string][] = [
  ["vision", "Vision"],
  ["audio_transcriptions", "Transcription"],
  ["audio_speech", "Speech"],
  ["image_generation", "Image Gen"],
  ["image_to_image", "Img→Img"],
  ["function_calling", "Function Calling"],
  ["reranker", "Reranker"],
];

export const plural = (n: number, one: string, many = `${one}s`): string => `${count(n)} ${n === 1 ? one : many}`;
