import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api } from "../wire/api";
import type { Activity } from "../wire/types";
import { go, href, route } from "../state/router";
import { Button, Card } from "../ui/basics";
import { CaptureView } from "../ui/captureview";

export default function CapturePage() {
  const id = route.value.arg;
  const row = useSignal<Activity | null>(null);
  useEffect(() => {
    row.value = null;
    if (!/^\d+$/.test(id)) return;
    api.activity(new URLSearchParams({ min_id: id, max_id: id, limit: "1" })).then((page) => (row.value = page.data[0] ?? null), () => undefined);
  }, [id]);
  const step = (by: number) => {
    if (/^\d+$/.test(id) && Number(id) + by >= 1) go(`captures/${Number(id) + by}`);
  };
  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      if ((event.target as HTMLElement).matches("input,textarea,select")) return;
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, [id]);
  return (
    <>
      <div class="page-head">
        <h1 tabIndex={-1}>Capture #{id}</h1>
        <span class="push row"><Button icon="left" label="Previous capture" onClick={() => step(-1)} /><Button icon="right" label="Next capture" onClick={() => step(1)} /><a class="button" href={href("activity")}>Activity</a></span>
      </div>
      <Card><div class="body"><CaptureView key={id} id={id} row={row.value} /></div></Card>
    </>
  );
}
