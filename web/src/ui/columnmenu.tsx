// Show, hide and reorder columns: with the mouse by dragging, with the keyboard by Alt and arrows.
import { useRef } from "preact/hooks";
import { arranged, moved, toggled } from "../lib/columns";
import type { ColumnSet } from "../state/prefs";
import { Button, Menu } from "./basics";
import { isSized, makeAutomatic } from "./sizedtable";

export function ColumnMenu({ table, all, titles, wish, onChange, label }: { table: string; all: readonly string[]; titles: Record<string, string>; wish: ColumnSet; onChange: (wish: ColumnSet) => void; label: string }) {
  const dragged = useRef<string | null>(null);
  const list = arranged(all, wish);
  const move = (id: string, to: number) => {
    onChange(moved(all, wish, id, to));
    requestAnimationFrame(() => document.getElementById(`column-${id}`)?.focus());
  };
  return (
    <Menu icon="columns" text="Columns" label={label}>
      <p class="caption muted">Drag, or Alt + ↑ ↓ on a name</p>
      {list.map(({ id, visible }, i) => (
        <div key={id} class="row" draggable onDragStart={() => (dragged.current = id)} onDragOver={(event) => event.preventDefault()} onDrop={() => dragged.current && move(dragged.current, i)}>
          <label class="check">
            <input id={`column-${id}`} type="checkbox" checked={visible} onChange={() => onChange(toggled(wish, id))}
              onKeyDown={(event) => {
                if (!event.altKey || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
                event.preventDefault();
                move(id, event.key === "ArrowUp" ? i - 1 : i + 1);
              }} />
            {titles[id] ?? id}
          </label>
          <span class="push row">
            <Button small kind="quiet" icon="up" label={`Move ${titles[id]} up`} disabled={i === 0} onClick={() => move(id, i - 1)} />
            <Button small kind="quiet" icon="down" label={`Move ${titles[id]} down`} disabled={i === list.length - 1} onClick={() => move(id, i + 1)} />
          </span>
        </div>
      ))}
      {isSized(table) && <p><Button small onClick={() => makeAutomatic(table)}>Automatic widths</Button></p>}
    </Menu>
  );
}
