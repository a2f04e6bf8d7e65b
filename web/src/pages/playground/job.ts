// One request of a playground tab at a time: busy, cancellable, with its error.
import { signal } from "@preact/signals";
import { explained } from "../../state/actions";
import { setBusy } from "../../state/playground";

export class Job {
  readonly busy = signal(false);
  readonly error = signal("");
  readonly elapsed = signal(0);
  private stopper: AbortController | null = null;

  constructor(private readonly tab: string) {}

  async run(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    if (this.busy.peek()) return;
    this.stopper = new AbortController();
    this.error.value = "";
    this.busy.value = true;
    setBusy(this.tab, true);
    const began = performance.now();
    const timer = setInterval(() => (this.elapsed.value = (performance.now() - began) / 1000), 250);
    try {
      await work(this.stopper.signal);
    } catch (error) {
      if (!this.stopper.signal.aborted) this.error.value = explained(error);
    } finally {
      clearInterval(timer);
      this.elapsed.value = (performance.now() - began) / 1000;
      this.busy.value = false;
      this.stopper = null;
      setBusy(this.tab, false);
    }
  }

  stop(): void {
    this.stopper?.abort();
  }
}
