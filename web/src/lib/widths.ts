// How wide the columns of a table are, once somebody has said so; until then the browser decides.

export interface Widths {
  /** CSS pixels of every column that was there when a width was chosen: they keep what they had. */
  px: Record<string, number>;
  /** Whose width somebody chose. None: the table is laid out by its content. */
  chosen: string[];
}

export const NARROWEST = 40;
export const WIDEST = 1200;
export const AUTOMATIC: Widths = { px: {}, chosen: [] };

export const within = (px: number): number => Math.max(NARROWEST, Math.min(WIDEST, Math.round(px)));

/** What was stored, as far as it makes sense. */
export function storedWidths(raw: unknown): Record<string, Widths> {
  const tables: Record<string, Widths> = {};
  for (const [name, value] of Object.entries((raw ?? {}) as Record<string, Partial<Widths> | null>)) {
    const known = Object.entries(value?.px ?? {}).filter(([, px]) => Number.isFinite(px) && px > 0 && px <= WIDEST);
    const px = Object.fromEntries(known);
    const chosen = Array.isArray(value?.chosen) ? value.chosen.filter((id) => id in px) : [];
    if (chosen.length) tables[name] = { px, chosen };
  }
  return tables;
}

/** One column gets a width; those beside it keep the ones that `measured` found. */
export function chosen(now: Widths, measured: Record<string, number>, id: string, px: number): Widths {
  return { px: { ...now.px, ...measured, [id]: within(px) }, chosen: [...now.chosen.filter((item) => item !== id), id] };
}

/** One column goes back to the width of its content; with the last of them the whole table does. */
export function released(now: Widths, id: string): Widths {
  const left = now.chosen.filter((item) => item !== id);
  if (!left.length) return AUTOMATIC;
  const { [id]: _, ...px } = now.px;
  return { px, chosen: left };
}

/** Where a key takes the edge of a column that is `px` wide; null: the key means nothing here. */
export function afterKey(key: string, px: number, coarse: boolean): number | null {
  const step = coarse ? 50 : 10;
  if (key === "ArrowLeft") return within(px - step);
  if (key === "ArrowRight") return within(px + step);
  return null;
}
