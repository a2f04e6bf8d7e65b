// One clock for everything that counts: four times a second while somebody looks and something runs.
import { effect, signal } from "@preact/signals";
import { inflight, models } from "../state/live";

export const tick = signal(performance.now());
/** Once in ten seconds, for relative times. */
export const slowTick = signal(Date.now());

let timer: ReturnType<typeof setInterval> | undefined;

function needed(): boolean {
  if (document.hidden) return false;
  return inflight.value.length > 0 || (models.value ?? []).some((model) => model.state === "starting" || model.state === "stopping" || (model.state === "ready" && (model.ttl_s ?? 0) > 0));
}

function adjust(): void {
  const wanted = needed();
  if (wanted && timer === undefined) timer = setInterval(() => (tick.value = performance.now()), 250);
  if (!wanted && timer !== undefined) {
    clearInterval(timer);
    timer = undefined;
  }
}

export function startTicker(): void {
  effect(adjust);
  document.addEventListener("visibilitychange", adjust);
  setInterval(() => {
    if (!document.hidden) slowTick.value = Date.now();
  }, 10_000);
}
