// One log source as a windowed list: only the visible lines exist, drawn once per frame.
import { signal, useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { runs, legible, stripped, type Run, type Style } from "../lib/ansi";
import { LogRing, type LogLine } from "../lib/logring";
import { copy } from "../state/actions";
import { logRevision } from "../state/live";
import { toast } from "../state/notices";
import { prefs, setPref } from "../state/prefs";
import { idPath, request } from "../wire/api";
import { count } from "../lib/format";
import { saveText } from "../lib/save";
import { Follower } from "./follow";
import { Button, Check, Chip, ErrorNote, Menu, Segmented } from "./basics";
import { dark } from "./shell";

const FONTS = [0.6875, 0.8125, 0.875, 1];
const OVERSCAN = 12;
const WRAPPED = 1_000;
const LEVELS = ["debug", "info", "warn", "error"] as const;

interface Filter {
  test: ((text: string) => boolean) | null;
  pattern: RegExp | null;
  invalid: boolean;
}

/** Plain text by default, `/…/` a regular expression; an invalid one filters nothing. */
export function filterOf(written: string, level: string): Filter {
  const tests: ((text: string) => boolean)[] = [];
  let pattern: RegExp | null = null;
  let invalid = false;
  if (written.startsWith("/") && written.length > 1) {
    const body = written.endsWith("/") && written.length > 2 ? written.slice(1, -1) : written.slice(1);
    try {
      pattern = new RegExp(body, "gi");
    } catch {
      invalid = true;
    }
  } else if (written) pattern = new RegExp(written.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "gi");
  if (pattern) {
    const fixed = new RegExp(pattern.source, "i");
    tests.push((text) => fixed.test(text));
  }
  if (level) tests.push((text) => levelOf(text) === level);
  return { test: tests.length ? (text) => tests.every((test) => test(text)) : null, pattern, invalid };
}

export function levelOf(text: string): string {
  const found = /\b(debug|info|warn(?:ing)?|error|fatal|critical)\b/i.exec(text.slice(0, 120))?.[1]?.toLowerCase() ?? "";
  if (found === "warning") return "warn";
  return found === "fatal" || found === "critical" ? "error" : found;
}

const TIME = /^(\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d[.,\d]*(?:Z|[+-]\d\d:?\d\d)?\]?\s+|\d\d:\d\d:\d\d[.,\d]*\s+)/;

export interface LogPanelProps {
  ring: LogRing;
  title: string;
  revision: { value: number };
  error?: string;
  retry?: () => void;
}

export function LogPanel({ ring, title, revision, error, retry }: LogPanelProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const written = useSignal("");
  const level = useSignal("");
  const paused = useSignal(-1);
  const follower = useMemo(() => new Follower(), []);
  const top = useSignal(0);
  const height = useSignal(400);
  const fresh = useSignal(0);
  const lastEnd = useRef(ring.end);
  const lastFirst = useRef(ring.first);
  const hit = useSignal(-1);
  const { logFont, logWrap, logTimes } = prefs.value;
  const filter = useMemo(() => filterOf(written.value, level.value), [written.value, level.value]);
  void revision.value;

  const kept = useRef<{ filter: Filter | null; seen: number; first: number; lines: LogLine[] }>({ filter: null, seen: 0, first: 0, lines: [] });
  const lines = visibleLines(ring, filter, kept.current, paused.value);
  const rowHeight = Math.round(logFont * 16 * 1.54);

  useEffect(() => {
    const element = scroller.current!;
    const observer = new ResizeObserver(() => (height.value = element.clientHeight));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  useEffect(() => {
    const element = scroller.current!;
    const added = ring.end - lastEnd.current;
    const dropped = ring.first - lastFirst.current;
    lastEnd.current = ring.end;
    lastFirst.current = ring.first;
    follower.keepUp(element);
    if (follower.on) fresh.value = 0;
    else {
      if (added > 0 && paused.peek() < 0) fresh.value += added;
      if (dropped > 0 && !filter.test && !logWrap) element.scrollTop = Math.max(0, element.scrollTop - dropped * rowHeight);
    }
  });

  const onScroll = () => {
    const element = scroller.current;
    if (!element) return; // the last scroll event may come after the panel has gone
    top.value = element.scrollTop;
    follower.scrolled(element);
    if (follower.on) fresh.value = 0;
  };
  const jump = () => {
    follower.on = true;
    follower.toEnd(scroller.current!);
    fresh.value = 0;
  };
  const find = (by: number) => {
    if (!filter.pattern || !lines.length) return;
    hit.value = (hit.value + by + lines.length) % lines.length;
    follower.on = false;
    scroller.current!.scrollTop = Math.max(0, hit.value * rowHeight - height.value / 2);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || (event.target as HTMLElement).tagName === "INPUT") return;
    if (event.key === "End" || event.key === "f") jump();
    else if (event.key === "n") find(1);
    else if (event.key === "N") find(-1);
    else return;
    event.preventDefault();
  };
  const from = logWrap ? Math.max(0, lines.length - WRAPPED) : Math.max(0, Math.floor(top.value / rowHeight) - OVERSCAN);
  const to = logWrap ? lines.length : Math.min(lines.length, Math.ceil((top.value + height.value) / rowHeight) + OVERSCAN);
  const plain = () => lines.map((line) => stripped(line.text)).join("\n");
  return (
    <section class="log" aria-label={title} style={{ "--log-size": `${logFont}rem` }} onKeyDown={onKeyDown}>
      <div class="tools">
        <h2 class="small">{title}</h2>
        <input data-filter type="search" aria-label={`Filter ${title}`} placeholder="Filter, /regex/" aria-invalid={filter.invalid} value={written.value} onInput={(event) => { written.value = event.currentTarget.value; hit.value = -1; }} onKeyDown={(event) => { if (event.key === "Escape") { written.value = ""; event.currentTarget.blur(); } }} />
        {filter.invalid && <span class="error-line">not a regular expression</span>}
        {filter.test && <span class="muted small num">{count(lines.length)} of {count(ring.lines.length)} lines</span>}
        {level.value && <Chip tone="info">{level.value}</Chip>}
        <span class="push" />
        <Button small icon={paused.value >= 0 ? "play" : "pause"} label={paused.value >= 0 ? "Resume" : "Pause"} pressed={paused.value >= 0} onClick={() => (paused.value = paused.value >= 0 ? -1 : ring.end)} />
        <Button small icon="wrap" label="Wrap lines" pressed={logWrap} onClick={() => setPref("logWrap", !logWrap)} />
        <Menu icon="settings" label={`Options of ${title}`}>
          <span class="row">Size <span class="push" /><Segmented label="Font size" value={String(logFont)} options={FONTS.map((size) => [String(size), `${Math.round(size * 16)}`] as const)} onChange={(value) => setPref("logFont", Number(value))} /></span>
          <Check label="Times at the start of lines" checked={logTimes} onChange={(on) => setPref("logTimes", on)} />
          <span class="row">Level <span class="push" /><Segmented label="Level" value={level.value} options={[["", "all"], ...LEVELS.map((name) => [name, name] as const)]} onChange={(value) => (level.value = value)} /></span>
          <Button small kind="quiet" icon="copy" onClick={() => void copy(plain()).then((done) => toast(done ? "ok" : "bad", done ? "Lines copied" : "The browser refused to copy"))}>Copy what is shown</Button>
          <Button small kind="quiet" icon="download" onClick={() => saveText(`${title.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-")}.log`, plain())}>Download</Button>
          <Button small kind="quiet" icon="trash" onClick={() => { ring.clear(); revision.value += 1; }}>Clear the view</Button>
        </Menu>
      </div>
      <div class="view">
        <div ref={scroller} class={`lines ${logWrap ? "wrap" : ""}`} tabIndex={0} role="log" aria-live="off" aria-label={`${title}, lines`} onScroll={onScroll}>
          {error && <ErrorNote text={error} {...(retry ? { retry } : {})} />}
          {lines.length === 0 ? <p class="muted">{filter.test ? "No line matches" : "No log lines yet"}</p> : (
            <div style={logWrap ? {} : { height: `${lines.length * rowHeight}px` }}>
              <div style={logWrap ? {} : { transform: `translateY(${from * rowHeight}px)` }}>
                {logWrap && from > 0 && <p class="rule">the last {count(WRAPPED)} lines are shown while wrapping</p>}
                {lines.slice(from, to).map((line, i) => <Line key={from + i} line={line} pattern={filter.pattern} times={logTimes} height={rowHeight} isDark={dark.value} current={from + i === hit.value} wrap={logWrap} />)}
              </div>
            </div>
          )}
        </div>
        {fresh.value > 0 && <span class="jump"><Button kind="primary" small icon="down" onClick={jump}>Jump to latest ({count(fresh.value)} new)</Button></span>}
      </div>
    </section>
  );
}

/** The lines that pass; what was sorted out before is not looked at again. */
function visibleLines(ring: LogRing, filter: Filter, kept: { filter: Filter | null; seen: number; first: number; lines: LogLine[] }, pausedAt: number): LogLine[] {
  const upTo = pausedAt >= 0 ? Math.max(0, pausedAt - ring.first) : ring.lines.length;
  if (!filter.test) return pausedAt >= 0 ? ring.lines.slice(0, upTo) : ring.lines;
  if (kept.filter !== filter || kept.first !== ring.first) {
    kept.filter = filter;
    kept.first = ring.first;
    kept.seen = ring.first;
    kept.lines = [];
  }
  const last = ring.first + upTo;
  // the last line may still grow: it is looked at again
  for (let at = kept.seen; at < last; at++) {
    const line = ring.lines[at - ring.first]!;
    if (line.rule || filter.test(stripped(line.text))) {
      if (kept.lines.at(-1) !== line) kept.lines.push(line);
    }
  }
  kept.seen = Math.max(ring.first, last - 1);
  return kept.lines;
}

interface LineProps {
  line: LogLine;
  pattern: RegExp | null;
  times: boolean;
  height: number;
  isDark: boolean;
  current: boolean;
  wrap: boolean;
}

function Line({ line, pattern, times, height, isDark, current, wrap }: LineProps) {
  if (line.rule) return <p class="rule" style={{ height: `${height}px` }}>{line.text}</p>;
  let pieces = runs(line.text, line.start);
  if (!times && pieces[0]) pieces = [{ ...pieces[0], text: pieces[0].text.replace(TIME, "") }, ...pieces.slice(1)];
  const bare = pieces.length === 1 && Object.keys(pieces[0]!.style).length === 0 && !pattern;
  return (
    <p style={{ ...(wrap ? {} : { height: `${height}px` }), ...(current ? { background: "var(--accent-soft)" } : {}) }}>
      {bare ? pieces[0]!.text : pieces.map((run, i) => <Piece key={i} run={run} pattern={pattern} isDark={isDark} />)}
    </p>
  );
}

const GROUNDS = { light: "#eceff3", dark: "#0b0d10" };
const themed = new Map<string, string>();

/** Base colours are theme classes by variable; any other is moved until it can be read. */
function colour(name: string, isDark: boolean, ground?: string): string {
  if (name.startsWith("c")) return `var(--ansi-${name.slice(1)})`;
  const key = `${name}${isDark}${ground ?? ""}`;
  let found = themed.get(key);
  if (!found) themed.set(key, (found = legible(name, ground ?? (isDark ? GROUNDS.dark : GROUNDS.light))));
  return found;
}

export function cssOf(style: Style, isDark: boolean): Record<string, string> {
  const css: Record<string, string> = {};
  if (style.bg) {
    // a background of the program's own choice: text on it is ours, so that it can be read
    css["background"] = style.bg.startsWith("c") ? `color-mix(in srgb, var(--ansi-${style.bg.slice(1)}) 16%, var(--sunken))` : `color-mix(in srgb, ${style.bg} 16%, var(--sunken))`;
    css["color"] = "var(--strong)";
  } else if (style.fg) css["color"] = colour(style.fg, isDark);
  return css;
}

function Piece({ run, pattern, isDark }: { run: Run; pattern: RegExp | null; isDark: boolean }) {
  const { style } = run;
  const classes = [style.bold && "a-b", style.italic && "a-i", style.underline && "a-u", style.strike && "a-s"].filter(Boolean).join(" ");
  return <span class={classes || undefined} style={cssOf(style, isDark)}>{pattern ? marked(run.text, pattern) : run.text}</span>;
}

function marked(text: string, pattern: RegExp) {
  const parts: preact.ComponentChildren[] = [];
  let from = 0;
  for (const match of text.matchAll(pattern)) {
    if (!match[0]) continue;
    parts.push(text.slice(from, match.index), <mark key={match.index}>{match[0]}</mark>);
    from = match.index + match[0].length;
  }
  parts.push(text.slice(from));
  return parts;
}

const BACKOFF = [1_000, 2_000, 4_000, 5_000];

/** The log of one source, read for as long as it is shown; a dropped connection is joined again. */
export function StreamLog({ source, title }: { source: string; title: string }) {
  const ring = useMemo(() => new LogRing(), [source]);
  const revision = useMemo(() => signal(0), [source]);
  const error = useSignal("");
  const attempt = useSignal(0);
  useEffect(() => {
    const stop = new AbortController();
    void follow(source, ring, revision, error, stop.signal);
    return () => stop.abort();
  }, [source, attempt.value]);
  return <LogPanel ring={ring} title={title} revision={revision} error={error.value} retry={() => (attempt.value += 1)} />;
}

async function follow(source: string, ring: LogRing, revision: { value: number }, error: { value: string }, stop: AbortSignal): Promise<void> {
  for (let failures = 0; !stop.aborted; failures++) {
    try {
      const answer = await request(`/logs/stream/${source === "proxy" || source === "upstream" ? source : idPath(source)}`, { signal: stop, headers: { Accept: "text/plain" } });
      error.value = "";
      failures = 0;
      const reader = answer.body!.getReader();
      const decoder = new TextDecoder();
      let first = ring.lines.length > 0;
      let pending = "";
      let drawing = false;
      const draw = () => {
        drawing = false;
        if (first) ring.join(pending, "reconnected");
        else ring.append(pending);
        first = false;
        pending = "";
        revision.value += 1;
      };
      for (;;) {
        const { done, value } = await reader.read();
        if (done || stop.aborted) break;
        pending += decoder.decode(value, { stream: true });
        if (!drawing) {
          drawing = true;
          if (first || document.hidden) setTimeout(draw, 120);
          else requestAnimationFrame(draw);
        }
      }
    } catch (cause) {
      if (stop.aborted) return;
      error.value = `Failed to load logs: ${cause instanceof Error ? cause.message : String(cause)}`;
    }
    await new Promise((resolve) => setTimeout(resolve, BACKOFF[Math.min(failures, BACKOFF.length - 1)]));
  }
}

export { logRevision };
