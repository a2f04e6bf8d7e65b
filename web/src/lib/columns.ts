// Which columns of a table show, in which order: a stored wish laid over what exists.
import type { ColumnSet } from "../state/prefs";

export interface Arranged {
  id: string;
  visible: boolean;
}

/** Unknown stored ids are dropped, new columns go to the end. */
export function arranged(all: readonly string[], wish: ColumnSet): Arranged[] {
  const order = wish.order.filter((id) => all.includes(id));
  const rest = all.filter((id) => !order.includes(id));
  return [...order, ...rest].map((id) => ({ id, visible: !wish.hidden.includes(id) }));
}

export function moved(all: readonly string[], wish: ColumnSet, id: string, to: number): ColumnSet {
  const order = arranged(all, wish).map((column) => column.id).filter((item) => item !== id);
  order.splice(Math.max(0, Math.min(order.length, to)), 0, id);
  return { ...wish, order };
}

export const toggled = (wish: ColumnSet, id: string): ColumnSet => ({
  ...wish,
  hidden: wish.hidden.includes(id) ? wish.hidden.filter((item) => item !== id) : [...wish.hidden, id],
});
