// Try a model. Each tab keeps what it holds while other pages are shown.
import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { prefs, setPref } from "../../state/prefs";
import { go, href, route } from "../../state/router";
import { busyTabs } from "../../state/playground";
import { Chip, Skeletons } from "../../ui/basics";
import { Chat } from "./chat";
import { usePicker } from "./picker";

const TABS = [["chat", "Chat"], ["images", "Images"], ["speech", "Speech"], ["transcription", "Transcription"], ["rerank", "Rerank"], ["embeddings", "Embeddings"], ["load", "Load test"]] as const;

/** Every tab but the chat comes in one more file, when one of them is first shown. */
const others = signal<Record<string, ComponentType> | null>(null);

function Other({ id }: { id: string }) {
  useEffect(() => {
    if (!others.peek()) void import("./tools").then((module) => (others.value = module.TOOLS), () => undefined);
  }, []);
  const Tab = others.value?.[id];
  return Tab ? <Tab /> : <Skeletons rows={6} label="Loading the tab" />;
}

export default function Playground() {
  usePicker();
  const wanted = route.value.arg || prefs.value.playgroundTab;
  const [id] = TABS.find(([name]) => name === wanted) ?? TABS[0];
  useEffect(() => {
    if (route.value.arg !== id) go(`playground/${id}`, true);
    if (prefs.peek().playgroundTab !== id) setPref("playgroundTab", id);
    document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  }, [id]);
  return (
    <>
      <h1 tabIndex={-1} class="visually-hidden">Playground</h1>
      <nav class="tabs" aria-label="Kinds of models">
        {TABS.map(([name, label]) => <a key={name} href={href(`playground/${name}`)} aria-current={name === id ? "page" : undefined}>{label}{busyTabs.value.has(name) && <> <Chip tone="busy">busy</Chip></>}</a>)}
      </nav>
      {id === "chat" ? <Chat /> : <Other key={id} id={id} />}
    </>
  );
}
