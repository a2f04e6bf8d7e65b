// A captured request on its way to the playground.
import { signal } from "@preact/signals";

export const handOver = signal<unknown>(null);
