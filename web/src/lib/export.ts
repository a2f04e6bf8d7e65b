// Activity as Markdown, CSV and JSON. Speeds are weighted by tokens, times are absolute.
import { absolute, seconds } from "./format";
import type { Activity } from "../wire/types";

export interface Column {
  id: string;
  title: string;
  text: (row: Activity) => string;
  numeric: boolean;
}

export const flat = (text: string): string => text.replace(/[\r\n\t]+/g, " ").replaceAll("|", "\\|");

/** Σ tokens ÷ Σ (tokens ÷ speed) over rows that have both. */
export function weightedSpeed(rows: Activity[], tokens: (row: Activity) => number, speed: (row: Activity) => number): number | null {
  let total = 0;
  let time = 0;
  for (const row of rows) {
    if (tokens(row) <= 0 || speed(row) <= 0) continue;
    total += tokens(row);
    time += tokens(row) / speed(row);
  }
  return time > 0 ? total / time : null;
}

const sum = (rows: Activity[], value: (row: Activity) => number): number => rows.reduce((total, row) => total + Math.max(0, value(row)), 0);
const rate = (value: number | null): string => (value === null ? "unknown" : `${value.toFixed(2)} t/s`);

export function summary(rows: Activity[]): [string, string][] {
  const times = rows.map((row) => row.timestamp).sort();
  const drafted = sum(rows, (row) => row.tokens.draft_tokens);
  const accepted = sum(rows, (row) => row.tokens.draft_acc_tokens);
  return [
    ["Range", `${absolute(times[0]!)} → ${absolute(times.at(-1)!)}`],
    ["Duration", seconds(sum(rows, (row) => row.duration_ms))],
    ["Cached", String(sum(rows, (row) => row.tokens.cache_tokens))],
    ["Prompt", `${sum(rows, (row) => row.tokens.input_tokens)} (${rate(weightedSpeed(rows, (row) => row.tokens.input_tokens, (row) => row.tokens.prompt_per_second))})`],
    ["Generated", `${sum(rows, (row) => row.tokens.output_tokens)} (${rate(weightedSpeed(rows, (row) => row.tokens.output_tokens, (row) => row.tokens.tokens_per_second))})`],
    ["Drafted", drafted > 0 ? `${((100 * accepted) / drafted).toFixed(1)}% (${accepted}/${drafted})` : "-"],
  ];
}

export function markdown(rows: Activity[], columns: Column[], now = Date.now()): string {
  const lines: string[] = [];
  if (rows.length) {
    lines.push("| Summary | |", "| --- | --- |");
    for (const [name, value] of summary(rows)) lines.push(`| ${name} | ${flat(value)} |`);
    lines.push("");
  }
  if (columns.length) {
    lines.push(`| ${columns.map((column) => column.title).join(" | ")} |`);
    lines.push(`| ${columns.map((column) => (column.numeric ? "---:" : "---")).join(" | ")} |`);
    for (const row of rows) lines.push(`| ${columns.map((column) => flat(column.text(row))).join(" | ")} |`);
    lines.push("");
  }
  lines.push(`llamaswap, ${absolute(now)}`);
  return lines.join("\n");
}

export function csv(rows: Activity[], columns: Column[]): string {
  const cell = (text: string) => {
    // a cell that a spreadsheet would run as a formula is quoted as text
    const safe = /^[=+\-@\t\r]/.test(text) && !/^-?[\d.]+$/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [columns.map((column) => cell(column.title)), ...rows.map((row) => columns.map((column) => cell(column.text(row))))].map((line) => line.join(",")).join("\r\n");
}
