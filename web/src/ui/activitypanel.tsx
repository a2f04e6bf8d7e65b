// What was asked, how fast it was, what failed. The server sorts and pages; older pages never jump.
import { signal, useSignal, type Signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { api } from "../wire/api";
import type { Activity, ActivityPage, Stats } from "../wire/types";
import { activityRevision, connections, localModels, online } from "../state/live";
import { copy, messageOf } from "../state/actions";
import { ACTIVITY_COLUMNS, prefs, setPref } from "../state/prefs";
import { go, href, modelHref, route, setQuery } from "../state/router";
import { arranged } from "../lib/columns";
import { csv, markdown, type Column } from "../lib/export";
import { isFiltered, readFilters, serverQuery, SORTS, validId, type Filters } from "../lib/filters";
import { absolute, bytes, clock, count, plural, relative, seconds, speed, tokens } from "../lib/format";
import { saveText } from "../lib/save";
import { throttled } from "../lib/throttle";
import { Button, Card, Chip, CommitInput, Dialog, Empty, ErrorNote, Field, Select, Segmented, Skeletons, Check } from "./basics";
import { ColumnMenu } from "./columnmenu";
import { CaptureDialog } from "./captureview";
import { Histogram } from "./histogram";
import { InflightTable } from "./inflighttable";
import { ColumnHead, SizedTable } from "./sizedtable";
import { Status } from "./status";
import { slowTick } from "./ticker";

const TITLES: Record<string, string> = { id: "ID", time: "Time", model: "Model", req_path: "Path", resp_status_code: "Status", resp_content_type: "Content-Type", cached: "Cached", prompt: "Prompt", generated: "Generated", drafted: "Drafted", prompt_speed: "Prefill", gen_speed: "Decode", duration: "Duration", capture: "Capture", meta: "Meta", error: "Error" };
const NUMERIC = new Set(["id", "cached", "prompt", "generated", "drafted", "prompt_speed", "gen_speed", "duration"]);
const SIZES = [10, 25, 50, 100, 250, 500] as const;

export function draftedText(row: Activity): string {
  const { draft_tokens: all, draft_acc_tokens: taken } = row.tokens;
  return all > 0 ? `${((100 * Math.max(0, taken)) / all).toFixed(1)}% (${Math.max(0, taken)}/${all})` : "–";
}

export function cellText(id: string, row: Activity): string {
  switch (id) {
    case "id": return String(row.id);
    case "time": return absolute(row.timestamp);
    case "model": return row.model;
    case "req_path": return row.req_path || "–";
    case "resp_status_code": return row.resp_status_code ? String(row.resp_status_code) : "–";
    case "resp_content_type": return row.resp_content_type || "–";
    case "cached": return tokens(row.tokens.cache_tokens);
    case "prompt": return tokens(row.tokens.input_tokens);
    case "generated": return tokens(row.tokens.output_tokens);
    case "drafted": return draftedText(row);
    case "prompt_speed": return speed(row.tokens.prompt_per_second);
    case "gen_speed": return speed(row.tokens.tokens_per_second);
    case "duration": return seconds(row.duration_ms);
    case "meta": return Object.entries(row.metadata).map(([key, value]) => `${key}=${value}`).join(", ");
    case "error": return row.error_msg;
    default: return "";
  }
}

interface PanelState {
  page: Signal<ActivityPage | null>;
  error: Signal<string>;
  stats: Signal<Stats | null>;
  statsError: Signal<string>;
  fresh: Signal<number>;
  loading: Signal<boolean>;
}

const newState = (): PanelState => ({ page: signal(null), error: signal(""), stats: signal(null), statsError: signal(""), fresh: signal(0), loading: signal(false) });

export function ActivityPanel({ model }: { model: string | null }) {
  const state = useMemo(newState, [model]);
  const filters = readFilters(route.value.query);
  const size = prefs.value.activitySize;
  const held = useSignal(false);
  const query = serverQuery(filters, size, model, 0).toString(); // what identifies the view; time ranges move on
  const ask = useMemo(() => asker(state, model), [state]);

  useEffect(() => {
    void ask.page();
    void ask.stats();
  }, [query, connections.value]);
  useEffect(() => {
    const stop = activityRevision.subscribe((revision) => {
      if (!revision || readFilters(route.peek().query).page !== 1) return;
      if (held.peek() || String(getSelection() ?? "")) state.fresh.value += 1;
      else ask.pageSoon();
      ask.statsSoon();
    });
    return stop;
  }, [state]);

  const page = state.page.value;
  const hasError = page?.data.some((row) => row.error_msg) ?? false;
  return (
    <>
      {!model && <Distributions state={state} retry={() => void ask.stats()} />}
      <InflightTable model={model} />
      <section class="card" aria-label="Requests">
        <Toolbar filters={filters} model={model} page={page} />
        {prefs.value.filtersOpen && <FilterBar filters={filters} model={model} />}
        {state.error.value && <div class="body"><ErrorNote text={state.error.value} retry={() => void ask.page()} stale={page !== null} /></div>}
        {state.fresh.value > 0 && <div class="body"><Button small onClick={() => { held.value = false; state.fresh.value = 0; void ask.page(); }}>{state.fresh.value} new</Button></div>}
        <div onMouseEnter={() => (held.value = true)} onMouseLeave={() => { held.value = false; if (state.fresh.peek()) { state.fresh.value = 0; ask.pageSoon(); } }}>
          {page === null ? !state.error.value && <Skeletons rows={8} label="Loading activity" /> : page.data.length === 0 ? <NoRows filtered={isFiltered(filters)} /> : <Rows page={page} model={model} filters={filters} hasError={hasError} stale={state.error.value !== ""} />}
        </div>
        {page !== null && page.total > 0 && <Pager page={page} />}
      </section>
    </>
  );
}

function asker(state: PanelState, model: string | null) {
  let sequence = 0;
  let running: AbortController | null = null;
  const page = async () => {
    const own = ++sequence;
    running?.abort();
    running = new AbortController();
    state.loading.value = true;
    try {
      const got = await api.activity(serverQuery(readFilters(route.peek().query), prefs.peek().activitySize, model, Date.now()), running.signal);
      if (own !== sequence) return;
      state.page.value = got;
      state.error.value = "";
    } catch (error) {
      if (own === sequence) state.error.value = messageOf(error);
    } finally {
      if (own === sequence) state.loading.value = false;
    }
  };
  const stats = async () => {
    const query = serverQuery(readFilters(route.peek().query), 1, model, Date.now());
    for (const key of ["page", "limit", "sort", "order"]) query.delete(key);
    try {
      state.stats.value = await api.stats(query);
      state.statsError.value = "";
    } catch (error) {
      state.statsError.value = messageOf(error);
    }
  };
  return { page, stats, pageSoon: throttled(() => void page(), 1_000), statsSoon: throttled(() => { if (!document.hidden) void stats(); }, 10_000) };
}

function NoRows({ filtered }: { filtered: boolean }) {
  if (filtered) return <Empty>No request matches the filters. <Button small onClick={clearFilters}>Clear filters</Button></Empty>;
  return <Empty><span>No requests recorded yet</span><span class="small">Point a client at <code>{location.origin}/v1</code>, or try a model in the <a href={href("playground/chat")}>playground</a>.</span></Empty>;
}

function Distributions({ state, retry }: { state: PanelState; retry: () => void }) {
  const open = prefs.value.histogramsOpen;
  const stats = state.stats.value;
  return (
    <section class="card" aria-label="Totals">
      <header>
        <Button kind="quiet" small icon={open ? "down" : "right"} label={open ? "Fold totals" : "Show totals"} expanded={open} onClick={() => setPref("histogramsOpen", !open)} />
        <h2>Totals</h2>
      </header>
      {state.statsError.value && <div class="body"><ErrorNote text={state.statsError.value} retry={retry} stale={stats !== null} /></div>}
      {open && (stats === null ? !state.statsError.value && <Skeletons rows={3} label="Loading totals" /> : (
        <div class="body stack">
          <div class="totals">
            {([["Requests completed", stats.total_requests], ["Cached tokens", stats.total_cache_tokens], ["Processed tokens", stats.total_input_tokens], ["Generated tokens", stats.total_output_tokens]] as const).map(([label, value]) => <div key={label}><b>{count(value)}</b><span class="muted small">{label}</span></div>)}
          </div>
          <div class="grid2">
            <Histogram data={stats.prompt_histogram} unit="t/s" label="Prompt speed" />
            <Histogram data={stats.gen_histogram} unit="t/s" label="Generation speed" />
          </div>
        </div>
      ))}
    </section>
  );
}

function Toolbar({ filters, model, page }: { filters: Filters; model: string | null; page: ActivityPage | null }) {
  const exporting = useSignal(false);
  const key = model ? "modelColumns" : "activityColumns";
  const all = model ? ACTIVITY_COLUMNS.filter((id) => id !== "model") : ACTIVITY_COLUMNS;
  const active = isFiltered(filters);
  return (
    <header>
      <h2>{model ? "Recent activity" : "Requests"} {page && <span class="muted num">{count(page.total)}</span>}</h2>
      <span class="push row wrap">
        <Button small icon="filter" pressed={prefs.value.filtersOpen} onClick={() => setPref("filtersOpen", !prefs.value.filtersOpen)}>Filters{active && <Chip tone="accent">on</Chip>}</Button>
        <ColumnMenu all={all} titles={TITLES} table={key} wish={prefs.value[key]} label="Columns of requests" onChange={(wish) => setPref(key, wish)} />
        <Button small icon="download" disabled={page === null} onClick={() => (exporting.value = true)}>Export</Button>
      </span>
      {exporting.value && page && <ExportDialog page={page} model={model} onClose={() => (exporting.value = false)} />}
    </header>
  );
}

const FILTER_KEYS = ["model", "min_id", "max_id", "range", "start", "end", "status", "path", "has_capture", "q", "page"];

function clearFilters(): void {
  setQuery(Object.fromEntries(FILTER_KEYS.map((key) => [key, null])));
}

const setFilter = (changes: Record<string, string | null>): void => setQuery({ ...changes, page: null });

function FilterBar({ filters, model }: { filters: Filters; model: string | null }) {
  const names = localModels.value.map((item) => item.id);
  const addModel = (name: string) => {
    const query = new URLSearchParams(route.value.query);
    query.delete("model");
    query.delete("page");
    const next = filters.models.includes(name) ? filters.models.filter((item) => item !== name) : [...filters.models, name];
    for (const item of next) if (item) query.append("model", item);
    go(`${location.pathname}?${query}`, true);
  };
  const idField = (key: "min_id" | "max_id", label: string, value: string) => (
    <Field label={label} error={validId(value) ? undefined : "a whole number from 1"}>
      <CommitInput numeric value={value} invalid={!validId(value)} onCommit={(next) => setFilter({ [key]: next.trim() })} />
    </Field>
  );
  return (
    <div class="body filters">
      <Field label="Time"><Select value={filters.start || filters.end ? "custom" : filters.range} options={[["", "All"], ["15m", "15 minutes"], ["1h", "1 hour"], ["24h", "24 hours"], ["7d", "7 days"], ["custom", "Custom"]]} onChange={(value) => setFilter(value === "custom" ? { range: null, start: new Date(Date.now() - 3_600_000).toISOString() } : { range: value, start: null, end: null })} /></Field>
      {(filters.start || filters.end) && <>
        <Field label="From"><input type="datetime-local" value={local(filters.start)} onChange={(event) => setFilter({ start: iso(event.currentTarget.value) })} /></Field>
        <Field label="To"><input type="datetime-local" value={local(filters.end)} onChange={(event) => setFilter({ end: iso(event.currentTarget.value) })} /></Field>
      </>}
      {!model && <Field label="Models"><Select value="" options={[["", filters.models.length ? plural(filters.models.length, "model") : "All"], ...names.map((name) => [name, `${filters.models.includes(name) ? "✓ " : ""}${name}`] as const)]} onChange={addModel} /></Field>}
      <Field label="Status"><Select value={filters.status} options={[["", "All"], ["ok", "OK"], ["client", "Client error"], ["server", "Server error"], ["error", "Any error"]]} onChange={(value) => setFilter({ status: value })} /></Field>
      <Field label="Path"><CommitInput value={filters.path} onCommit={(next) => setFilter({ path: next })} /></Field>
      {idField("min_id", "ID from", filters.minId)}
      {idField("max_id", "ID to", filters.maxId)}
      <div class="grow"><Field label="Text in error or metadata"><CommitInput filter value={filters.text} onCommit={(next) => setFilter({ q: next })} /></Field></div>
      <Check label="Has capture" checked={filters.capture} onChange={(on) => setFilter({ has_capture: on ? "1" : null })} />
      <Field label="Rows"><Select value={prefs.value.activitySize} options={SIZES.map((size) => [size, String(size)] as const)} onChange={(value) => { setPref("activitySize", Number(value)); setQuery({ page: null }); }} /></Field>
      <Button small onClick={clearFilters}>Clear filters</Button>
      {(filters.status || filters.path || filters.capture || filters.text) && <p class="caption muted">Where the server cannot filter by status, path, capture or text, these apply to the loaded page only.</p>}
    </div>
  );
}

function local(text: string): string {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? "" : new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
const iso = (text: string): string | null => (text ? new Date(text).toISOString() : null);

/** What the server may not know how to filter is filtered here. */
export function passes(row: Activity, filters: Filters): boolean {
  const code = row.resp_status_code;
  if (filters.status === "ok" && !(code >= 200 && code < 300)) return false;
  if (filters.status === "client" && !(code >= 400 && code < 500)) return false;
  if (filters.status === "server" && code < 500) return false;
  if (filters.status === "error" && code < 400) return false;
  if (filters.path && !row.req_path.includes(filters.path)) return false;
  if (filters.capture && !row.has_capture) return false;
  if (filters.text) {
    const hay = `${row.error_msg}\n${Object.entries(row.metadata).flat().join("\n")}`.toLowerCase();
    if (!hay.includes(filters.text.toLowerCase())) return false;
  }
  return true;
}

function Rows({ page, model, filters, hasError, stale }: { page: ActivityPage; model: string | null; filters: Filters; hasError: boolean; stale: boolean }) {
  void slowTick.value;
  const opened = useSignal<number | null>(null);
  const expanded = useSignal<number | null>(null);
  const key = model ? "modelColumns" : "activityColumns";
  const all = model ? ACTIVITY_COLUMNS.filter((id) => id !== "model") : ACTIVITY_COLUMNS;
  const columns = arranged(all, prefs.value[key]).filter((column) => column.visible && (column.id !== "error" || hasError)).map((column) => column.id);
  const rows = page.data.filter((row) => passes(row, filters));
  const at = rows.findIndex((row) => row.id === opened.value);
  const before = rows.slice(0, Math.max(0, at)).findLast((row) => row.has_capture);
  const after = rows.slice(at + 1).find((row) => row.has_capture);
  return (
    <>
      <SizedTable name={key} ids={columns} label="Requests" class="cards requests" stale={stale}>
        <thead><tr>{columns.map((id) => <Head key={id} id={id} filters={filters} />)}</tr></thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.id} data-row={row.id} tabIndex={0} class={`${row.resp_status_code >= 400 ? "failed" : ""} ${expanded.value === row.id ? "open" : ""}`}
              onClick={(event) => { if (!(event.target as Element).closest("a,button")) expanded.value = expanded.value === row.id ? null : row.id; }}
              onKeyDown={(event) => { if (event.key === "Enter" && event.target === event.currentTarget) { if (row.has_capture) opened.value = row.id; else expanded.value = expanded.value === row.id ? null : row.id; } }}>
              {columns.map((id) => <Cell key={id} id={id} row={row} open={() => (opened.value = row.id)} />)}
              <td class="narrow-only card-more"><Button small kind="quiet" icon={expanded.value === row.id ? "up" : "down"} expanded={expanded.value === row.id} label={`More about request ${row.id}`} onClick={() => (expanded.value = expanded.value === row.id ? null : row.id)} /></td>
            </tr>
          ))}
        </tbody>
      </SizedTable>
      {opened.value !== null && <CaptureDialog id={opened.value} row={rows[at] ?? null} onClose={() => (opened.value = null)} previous={before ? () => (opened.value = before.id) : null} next={after ? () => (opened.value = after.id) : null} />}
    </>
  );
}

function Head({ id, filters }: { id: string; filters: Filters }) {
  const order = filters.sort === id ? filters.order : null;
  const sort = { order, onClick: () => setQuery({ sort: id, order: order === "asc" ? "desc" : "asc", page: null }) };
  return <ColumnHead id={id} title={TITLES[id]!} numeric={NUMERIC.has(id)} sort={SORTS.has(id) ? sort : undefined} />;
}

/** Where a field stands in the card of a small screen; the others are shown when it is opened. */
const CARD: Record<string, string> = { model: "card-model", resp_status_code: "card-status", gen_speed: "card-speed", time: "card-age", error: "main", capture: "card-capture" };

function Cell({ id, row, open }: { id: string; row: Activity; open: () => void }) {
  const place = CARD[id] ?? "extra";
  const unknown = "not reported by the server";
  switch (id) {
    case "time":
      return <td class={`muted nowrap ${place}`} title={absolute(row.timestamp)}>{relative(row.timestamp)}</td>;
    case "model":
      return <td class={place}><a class="whole" href={modelHref(row.model)} title={row.model}>{row.model}</a></td>;
    case "resp_status_code":
      return <td class={place}><Status code={row.resp_status_code} /></td>;
    case "capture":
      return <td class={place}>{row.has_capture ? <Button small onClick={open}>View<span class="visually-hidden"> capture {row.id}</span></Button> : <span class="muted">–</span>}</td>;
    case "meta":
      return <td class={place} data-label={TITLES[id]}>{Object.entries(row.metadata).map(([name, value]) => <Chip key={name} title={value}>{name} {value}</Chip>)}</td>;
    case "error":
      return <td class={place}>{row.error_msg && <span class="error-line clamp" title={row.error_msg}>{row.error_msg}</span>}</td>;
    default: {
      const text = cellText(id, row);
      return <td class={`${NUMERIC.has(id) ? "num" : ""} ${place}`} data-label={TITLES[id]} title={text === "–" && NUMERIC.has(id) ? unknown : undefined}>{text}</td>;
    }
  }
}

export function pageNumbers(current: number, total: number): number[] {
  const first = Math.max(1, Math.min(current - 3, total - 6));
  return Array.from({ length: Math.min(7, total) }, (_, i) => first + i);
}

function Pager({ page }: { page: ActivityPage }) {
  const turn = (to: number) => setQuery({ page: to === 1 ? null : String(to) });
  const last = page.total_pages;
  return (
    <nav class="pager" aria-label="Pages of requests" onKeyDown={(event) => { if (event.key === "ArrowLeft" && page.page > 1) turn(page.page - 1); if (event.key === "ArrowRight" && page.page < last) turn(page.page + 1); }}>
      <Button small icon="left" label="Previous page" disabled={page.page <= 1} onClick={() => turn(page.page - 1)} />
      {page.page > 4 && <Button small onClick={() => turn(1)}>First</Button>}
      {pageNumbers(page.page, last).map((n) => <Button key={n} small kind={n === page.page ? "primary" : ""} onClick={() => turn(n)}>{n}</Button>)}
      {page.page < last - 3 && <Button small onClick={() => turn(last)}>Last</Button>}
      <Button small icon="right" label="Next page" disabled={page.page >= last} onClick={() => turn(page.page + 1)} />
      <span class="muted small">Page {page.page} of {last} · {count(page.total)} total</span>
    </nav>
  );
}

const MOST = 5_000;

function ExportDialog({ page, model, onClose }: { page: ActivityPage; model: string | null; onClose: () => void }) {
  const kind = useSignal<"markdown" | "csv" | "json">("markdown");
  const whole = useSignal<Activity[] | null>(null);
  const all = useSignal(false);
  const problem = useSignal("");
  const said = useSignal("");
  const key = model ? "modelColumns" : "activityColumns";
  const ids = arranged(model ? ACTIVITY_COLUMNS.filter((id) => id !== "model") : ACTIVITY_COLUMNS, prefs.value[key]).filter((column) => column.visible && column.id !== "capture").map((column) => column.id);
  const columns: Column[] = ids.map((id) => ({ id, title: TITLES[id]!, numeric: NUMERIC.has(id), text: (row) => cellText(id, row) }));
  const rows = all.value ? (whole.value ?? []) : page.data;
  const text = kind.value === "markdown" ? markdown(rows, columns) : kind.value === "csv" ? csv(rows, columns) : JSON.stringify(rows, null, 2);
  useEffect(() => {
    if (all.value && !whole.value) fetchAll(model).then((got) => (whole.value = got), (error) => (problem.value = messageOf(error)));
  }, [all.value]);
  const onCopy = async () => {
    if (await copy(text)) said.value = "Copied!";
    else {
      document.querySelector<HTMLTextAreaElement>("#export-text")?.select();
      said.value = "Press Ctrl+C";
    }
    setTimeout(() => (said.value = ""), 2_000);
  };
  const suffix = { markdown: "md", csv: "csv", json: "json" }[kind.value];
  return (
    <Dialog wide title="Export activity" onClose={onClose} footer={<><Button icon="copy" onClick={() => void onCopy()}><span aria-live="polite">{said.value || "Copy"}</span></Button><Button icon="download" kind="primary" onClick={() => saveText(`activity.${suffix}`, text)}>Download</Button></>}>
      <div class="row wrap">
        <Segmented label="Format" value={kind.value} options={[["markdown", "Markdown"], ["csv", "CSV"], ["json", "JSON"]]} onChange={(value) => (kind.value = value)} />
        <Check label={`All rows that match (at most ${count(MOST)})`} checked={all.value} onChange={(on) => (all.value = on)} />
        {all.value && !whole.value && !problem.value && <span class="spinner" role="status" aria-label="Loading all rows" />}
      </div>
      {problem.value && <ErrorNote text={problem.value} />}
      <textarea id="export-text" class="mono" rows={16} readOnly aria-label="Export" value={text} />
    </Dialog>
  );
}

async function fetchAll(model: string | null): Promise<Activity[]> {
  const filters = readFilters(route.peek().query);
  const rows: Activity[] = [];
  for (let page = 1; rows.length < MOST; page++) {
    const got = await api.activity(serverQuery({ ...filters, page }, 500, model, Date.now()));
    rows.push(...got.data.filter((row) => passes(row, filters)));
    if (page >= got.total_pages) break;
  }
  return rows.slice(0, MOST);
}

export { bytes, clock, Card, online };
