// A table whose columns can be made wider and narrower: by dragging, by keys; a double click, or Home,
// gives a column back the width of its content.
import { signal, useSignal } from "@preact/signals";
import type { ComponentChildren, TargetedKeyboardEvent, TargetedPointerEvent } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { afterKey, AUTOMATIC, chosen, NARROWEST, released, WIDEST, within, type Widths } from "../lib/widths";
import { prefs, setPref } from "../state/prefs";
import { Icon } from "./icons";

/** What a drag that is under way shows; it is stored when it ends. */
const dragged = signal<{ name: string; widths: Widths } | null>(null);

const widthsOf = (name: string): Widths => (dragged.value?.name === name ? dragged.value.widths : (prefs.value.columnWidths[name] ?? AUTOMATIC));
const variable = (id: string): string => `--w-${id}`;

function store(name: string, widths: Widths): void {
  const { [name]: _, ...others } = prefs.peek().columnWidths;
  setPref("columnWidths", widths.chosen.length ? { ...others, [name]: widths } : others);
}

export const isSized = (name: string): boolean => widthsOf(name).chosen.length > 0;
export const makeAutomatic = (name: string): void => store(name, AUTOMATIC);

export interface SizedTableProps {
  /** Under which its widths are kept. */
  name: string;
  /** Its columns, in order; each has a ColumnHead. */
  ids: readonly string[];
  label: string;
  class?: string;
  /** Of a table whose rows are grids: what its columns take while nobody has chosen. */
  tracks?: string;
  stale?: boolean;
  children: ComponentChildren;
}

export function SizedTable({ name, ids, label, class: own = "", tracks, stale, children }: SizedTableProps) {
  const table = useRef<HTMLTableElement>(null);
  const overflows = useSignal(false);
  const widths = widthsOf(name);
  const sized = widths.chosen.length > 0;
  const style: Record<string, string> = tracks ? { "--columns": tracks } : {};
  if (sized) {
    style["--columns"] = `${ids.map((id) => `var(${variable(id)}, 120px)`).join(" ")} minmax(0, 1fr)`;
    for (const id of ids) if (id in widths.px) style[variable(id)] = `${widths.px[id]}px`;
  }
  useLayoutEffect(() => {
    const missing = sized ? ids.filter((id) => !(id in widths.px)) : [];
    if (!missing.length || !inColumns()) return;
    const natural = naturalWidths(table.current!, ids);
    for (const id of missing) table.current!.style.setProperty(variable(id), `${natural[id]}px`);
  }, [sized, ids.join(), Object.keys(widths.px).join()]);
  useLayoutEffect(() => watched(table.current!, (wide) => (overflows.value = wide)), [ids.join()]);
  return (
    <div class={`${overflows.value ? "scroll-x" : ""} ${stale ? "stale" : ""}`} tabIndex={overflows.value ? 0 : undefined} role="group" aria-label={`${label}, table`} onPointerOver={tellWhole}>
      <table ref={table} class={`table ${own} ${sized ? "sized" : ""}`} style={style} data-widths={name}>
        {sized && <colgroup>{ids.map((id) => <col key={id} style={{ width: `var(${variable(id)}, 120px)` }} />)}<col /></colgroup>}
        {children}
      </table>
    </div>
  );
}

/** Small screens show cards, which have no columns. */
const inColumns = (): boolean => matchMedia("(min-width: 768px)").matches;

/** Tells whether the table is wider than its place, and each handle how wide its column is. */
function watched(table: HTMLTableElement, tell: (overflows: boolean) => void): () => void {
  const frame = table.parentElement!;
  const observer = new ResizeObserver((entries) => {
    tell(table.offsetWidth > frame.clientWidth + 1);
    for (const { target } of entries) target.querySelector(":scope > .grip")?.setAttribute("aria-valuenow", String(within((target as HTMLElement).offsetWidth)));
  });
  for (const part of [frame, table, ...headsOf(table)]) observer.observe(part);
  return () => observer.disconnect();
}

const headsOf = (table: HTMLTableElement): HTMLElement[] => [...(table.tHead?.rows[0]?.cells ?? [])];

/** The widths that the columns have, to the fraction: rounded they would cut their content, or be wider together than their place. */
function widthsNow(table: HTMLTableElement): Record<string, number> {
  return Object.fromEntries(headsOf(table).map((head) => [head.dataset["column"]!, head.getBoundingClientRect().width]));
}

/** Rows that are asked for the width of their content; more would cost time and rarely change it. */
const ASKED = 60;
/** A long text does not push everything else off the screen. */
const WIDEST_NATURAL = 420;

/** How wide the content of each column is, as far as the first rows tell. */
function naturalWidths(table: HTMLTableElement, ids: readonly string[]): Record<string, number> {
  table.classList.add("measuring");
  const rows = [...table.rows].slice(0, ASKED);
  const widths = ids.map((id, i) => [id, Math.min(WIDEST_NATURAL, within(Math.max(...rows.map((row) => Math.ceil(row.cells[i]?.getBoundingClientRect().width ?? 0)))))] as const);
  table.classList.remove("measuring");
  return Object.fromEntries(widths);
}

/** A cell that cannot show all of its text tells it when it is pointed at. */
function tellWhole(event: TargetedPointerEvent<HTMLElement>): void {
  const cell = (event.target as Element).closest<HTMLElement>("td, th");
  if (!cell || (cell.title && !("cut" in cell.dataset))) return;
  const cut = [cell, ...cell.querySelectorAll<HTMLElement>(".cut, .whole")].some((part) => part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).textOverflow === "ellipsis");
  if (cut) {
    cell.title = cell.innerText;
    cell.dataset["cut"] = "";
  } else if ("cut" in cell.dataset) {
    cell.removeAttribute("title");
    delete cell.dataset["cut"];
  }
}

export interface ColumnHeadProps {
  id: string;
  title: string;
  numeric?: boolean;
  /** The title is for screen readers only. */
  quiet?: boolean;
  sort?: { order: "asc" | "desc" | null; onClick: () => void } | undefined;
}

export function ColumnHead({ id, title, numeric, quiet, sort }: ColumnHeadProps) {
  const order = sort?.order;
  return (
    <th scope="col" data-column={id} class={numeric ? "num" : ""} aria-label={title} aria-sort={order ? (order === "asc" ? "ascending" : "descending") : undefined}>
      {sort ? <button type="button" onClick={sort.onClick}><span class="cut">{title}</span>{order && <Icon name={order === "asc" ? "up" : "down"} />}</button> : <span class={quiet ? "visually-hidden" : "cut"}>{title}</span>}
      <Grip id={id} title={title} />
    </th>
  );
}

interface Drag {
  table: HTMLTableElement;
  /** Where the pointer went down, and how wide the column was then. */
  x: number;
  from: number;
  /** Whether it has moved: a mere press changes nothing. */
  moved: boolean;
  px: number;
  frame: number;
}

const STILL = 3;

function Grip({ id, title }: { id: string; title: string }) {
  const drag = useRef<Drag | null>(null);

  const begin = (event: TargetedPointerEvent<HTMLElement>) => {
    const table = event.currentTarget.closest("table");
    if (event.button !== 0 || !table) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    const from = widthsNow(table)[id]!;
    drag.current = { table, x: event.clientX, from, moved: false, px: from, frame: 0 };
  };
  const move = (event: PointerEvent) => {
    const now = drag.current;
    if (!now || (!now.moved && Math.abs(event.clientX - now.x) < STILL)) return;
    const name = now.table.dataset["widths"]!;
    if (!now.moved) dragged.value = { name, widths: chosen(widthsOf(name), widthsNow(now.table), id, now.from) };
    now.moved = true;
    now.px = within(now.from + event.clientX - now.x);
    now.frame ||= requestAnimationFrame(() => {
      now.frame = 0;
      if (drag.current === now) show(name, id, now.px);
    });
  };
  const end = (keep: boolean) => {
    const now = drag.current;
    drag.current = null;
    if (!now?.moved) return;
    cancelAnimationFrame(now.frame);
    const { name, widths } = dragged.peek()!;
    show(name, id, keep ? now.px : now.from);
    if (keep) resize(name, widths.px, now.px);
    dragged.value = null;
  };
  const resize = (name: string, measured: Record<string, number>, px: number) => store(name, chosen(widthsOf(name), measured, id, px));
  const release = (table: HTMLTableElement) => {
    const name = table.dataset["widths"]!;
    store(name, released(widthsOf(name), id));
  };
  const onKeyDown = (event: TargetedKeyboardEvent<HTMLElement>) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const table = event.currentTarget.closest("table")!;
    const measured = widthsNow(table);
    const px = afterKey(event.key, measured[id]!, event.shiftKey);
    if (event.key === "Escape" && drag.current) end(false);
    else if (event.key === "Home") release(table);
    else if (px !== null) resize(table.dataset["widths"]!, measured, px);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <span class="grip" role="separator" aria-orientation="vertical" aria-label={`Width of ${title}`} aria-valuenow={NARROWEST} aria-valuemin={NARROWEST} aria-valuemax={WIDEST} tabIndex={0}
      title="Drag to resize; double-click for the automatic width"
      onPointerDown={begin} onPointerMove={move} onPointerUp={() => end(true)} onPointerCancel={() => end(false)} onLostPointerCapture={() => end(false)}
      onDblClick={(event) => release(event.currentTarget.closest("table")!)} onKeyDown={onKeyDown} />
  );
}

/** One write for each frame: the columns follow by themselves. A page may hold several tables of one name. */
function show(name: string, id: string, px: number): void {
  for (const table of document.querySelectorAll<HTMLElement>(`table[data-widths="${name}"]`)) table.style.setProperty(variable(id), `${px}px`);
}
