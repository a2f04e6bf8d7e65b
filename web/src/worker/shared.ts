// The SharedWorker's entry: one Hub for all tabs of this origin.
/// <reference lib="webworker" />
import { Hub, TIMING, type FromHub, type ToHub } from "./hub";

const scope = self as unknown as SharedWorkerGlobalScope;
const options = new URLSearchParams(scope.name.split("?")[1] ?? "");
const timing = { ...TIMING };
for (const key of ["silence", "release"] as const) if (options.has(key)) timing[key] = Number(options.get(key));
const hub = new Hub(options.get("address") ?? "/api/events", timing);

scope.onconnect = (event) => {
  const channel = event.ports[0]!;
  const port = { post: (message: FromHub) => channel.postMessage(message) };
  channel.onmessage = (message: MessageEvent<ToHub>) => hub.hear(port, message.data);
  hub.attach(port);
};
