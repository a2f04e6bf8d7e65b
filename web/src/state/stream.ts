// Connects this tab to the hub: the shared one where the browser has it, else one of its own.
import { effect } from "@preact/signals";
import { api, onUnauthorised, url } from "../wire/api";
import { Hub, TIMING, type FromHub, type ToHub } from "../worker/hub";
import { connectTo, connection, connections, receive, retryNow } from "./live";
import { scriptAddress } from "../lib/trusted";
import workerAddress from "../worker/shared.ts?sharedworker&url";
import { outdated } from "./notices";

const HIDDEN_WITHOUT_WORKER = 30_000;
const ALIVE = 20_000;

/** Limits a test may shorten by a tag in the page: they are the server's to set, never a visitor's. */
function tuned(): Record<string, string> {
  const content = document.querySelector<HTMLMetaElement>('meta[name="llamaswap-timing"]')?.content ?? "";
  return Object.fromEntries(new URLSearchParams(content));
}

export function startStream(): void {
  const send = shared() ?? own();
  connectTo(send);
  const visibility = () => send({ kind: "hidden", hidden: document.hidden });
  document.addEventListener("visibilitychange", visibility);
  visibility();
  setInterval(() => send({ kind: "alive" }), ALIVE);
  addEventListener("pagehide", () => send({ kind: "bye" }));
  addEventListener("pageshow", (event) => {
    if ((event as PageTransitionEvent).persisted) location.reload(); // the hub has forgotten this tab
  });
  const again = () => {
    if (connection.peek() === "disconnected" && !document.hidden) retryNow();
  };
  addEventListener("online", again);
  addEventListener("focus", again);
  onUnauthorised(() => {
    if (connection.peek() !== "connected") connection.value = "unauthorised";
    else unauthorisedSeen();
  });
  effect(() => {
    if (connections.value > 0) void checkBuild();
  });
}

function unauthorisedSeen(): void {
  connection.value = "unauthorised";
}

function shared(): ((message: ToHub) => void) | null {
  if (typeof SharedWorker === "undefined") return null;
  try {
    const options = new URLSearchParams({ address: url("/api/events"), ...tuned() });
    const worker = new SharedWorker(scriptAddress(new URL(workerAddress, import.meta.url)) as unknown as URL, { name: `llamaswap?${options}`, type: "module" });
    worker.port.onmessage = (message: MessageEvent<FromHub>) => receive(message.data);
    return (message) => worker.port.postMessage(message);
  } catch {
    return null;
  }
}

function own(): (message: ToHub) => void {
  const limits = tuned();
  const timing = { ...TIMING, release: Number(limits["release"] ?? HIDDEN_WITHOUT_WORKER), silence: Number(limits["silence"] ?? TIMING.silence) };
  const hub = new Hub(url("/api/events"), timing);
  const port = { post: receive };
  hub.attach(port);
  return (message) => hub.hear(port, message);
}

/** The server's page may be newer than this one: offer it. */
async function checkBuild(): Promise<void> {
  try {
    const served = (await api.build())["entry"];
    const ours = document.querySelector<HTMLScriptElement>('script[type="module"]')?.src ?? "";
    if (typeof served === "string" && served && ours.includes("/assets/") && !ours.endsWith(served)) outdated.value = true;
  } catch {
    // an older server has no such file; then there is nothing to offer
  }
}
