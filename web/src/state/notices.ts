// What the page tells its user outside of any panel: toasts, one banner, counters for diagnosis.
import { signal } from "@preact/signals";

export interface Toast {
  id: number;
  tone: "ok" | "bad" | "info";
  text: string;
  action?: { label: string; run: () => void };
}
export const toasts = signal<Toast[]>([]);
let next = 1;

export function toast(tone: Toast["tone"], text: string, action?: Toast["action"]): void {
  const entry: Toast = { id: next++, tone, text, ...(action ? { action } : {}) };
  toasts.value = [...toasts.value, entry].slice(-3);
  if (tone !== "bad") setTimeout(() => dismiss(entry.id), 5_000);
}

export const dismiss = (id: number): void => {
  toasts.value = toasts.value.filter((entry) => entry.id !== id);
};

export interface Banner {
  tone: "ok" | "bad";
  text: string;
  detail: string;
}
export const banner = signal<Banner | null>(null);
banner.subscribe((shown) => {
  if (shown?.tone === "ok")
    setTimeout(() => {
      if (banner.value === shown) banner.value = null;
    }, 6_000);
});

/** Set when the server serves a newer page than this one. */
export const outdated = signal(false);
export const diagnostics = signal({ bad: 0, unknown: 0 });

export interface Question {
  title: string;
  text: string;
  confirm: string;
  answer: (yes: boolean) => void;
}
export const question = signal<Question | null>(null);

/** Ask before something is lost. */
export const ask = (title: string, text: string, confirm: string): Promise<boolean> =>
  new Promise((resolve) => {
    question.value = {
      title,
      text,
      confirm,
      answer: (yes) => {
        question.value = null;
        resolve(yes);
      },
    };
  });
