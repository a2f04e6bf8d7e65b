// What the shell knows of the playground without loading its code.
import { signal } from "@preact/signals";

export const busyTabs = signal<ReadonlySet<string>>(new Set());
export const busyPlayground = signal(false);

export function setBusy(tab: string, busy: boolean): void {
  const next = new Set(busyTabs.peek());
  if (busy) next.add(tab);
  else next.delete(tab);
  busyTabs.value = next;
  busyPlayground.value = [...next].some((name) => name !== "load");
}
