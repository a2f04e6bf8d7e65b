// Streaming Markdown: finished blocks are drawn once and keep their nodes.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { splitBlocks } from "../lib/blocks";
import { needMath, sanitise, toHtml } from "../lib/markdown";
import { setSafeHtml } from "../lib/trusted";
import { copy } from "../state/actions";

export function Markdown({ text, live }: { text: string; live: boolean }) {
  const { done, tail, closing } = splitBlocks(text);
  return (
    <div class="md">
      {done.map((block, i) => <Block key={i} text={block} />)}
      {tail.trim() && <Block key={done.length} text={live ? tail + closing : tail} />}
    </div>
  );
}

function Block({ text }: { text: string }) {
  const ref = useRef<HTMLDivElement>(null);
  const [ready, setReady] = useState(0);
  useEffect(() => {
    void needMath(text)?.then(() => setReady((n) => n + 1));
  }, [text]);
  useLayoutEffect(() => {
    const element = ref.current!;
    setSafeHtml(element, toHtml(text), sanitise);
    for (const pre of element.querySelectorAll("pre")) addCopy(pre);
    for (const chip of element.querySelectorAll<HTMLElement>("[data-remote-image]")) addLoad(chip);
  }, [text, ready]);
  return <div ref={ref} />;
}

function addCopy(pre: HTMLElement): void {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button small quiet copy-code";
  button.textContent = "Copy";
  button.addEventListener("click", () => {
    void copy(pre.querySelector("code")?.textContent ?? "").then((done) => {
      button.textContent = done ? "Copied" : "Refused";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
  });
  pre.append(button);
}

/** A remote picture is loaded only on demand; the policy of the page lets only links leave it. */
function addLoad(chip: HTMLElement): void {
  const address = chip.dataset["remoteImage"] ?? "";
  if (!/^https?:/i.test(address)) return;
  const link = document.createElement("a");
  link.href = address;
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
  link.textContent = "open";
  chip.append(" ", link);
}
