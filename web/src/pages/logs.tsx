// Proxy and upstream logs side by side, or any one source.
import { useEffect, useRef } from "preact/hooks";
import { localModels, logRevision, logs, want } from "../state/live";
import { prefs, setPref } from "../state/prefs";
import { route, setQuery } from "../state/router";
import { Select } from "../ui/basics";
import { LogPanel, StreamLog } from "../ui/logpanel";

const running = (state: string) => !["stopped", "shutdown", "unknown", ""].includes(state);

export default function Logs() {
  const asked = route.value.query.get("source");
  const view = asked ?? prefs.value.logView;
  const shown = localModels.value.filter((model) => running(model.state) || model.id === asked);
  const choose = (value: string) => {
    if (value === "panels" || value === "proxy" || value === "upstream") setPref("logView", value);
    setQuery({ source: value === "panels" ? null : value });
    if (value === "panels") setPref("logView", "panels");
  };
  const own = !["panels", "proxy", "upstream", "all"].includes(view);
  return (
    <div class="logs fill">
      <div class="page-head">
        <h1 tabIndex={-1}>Logs</h1>
        <span class="push" />
        <div><Select label="Source" value={view} options={[["panels", "Both, side by side"], ["proxy", "Proxy"], ["upstream", "Models"], ["all", "All, interleaved"], ...shown.map((model) => [model.id, model.id] as const)]} onChange={choose} /></div>
      </div>
      {own ? <div class="log-grid single"><StreamLog key={view} source={view} title={view} /></div> : view === "all" ? <div class="log-grid single"><StreamLog key="all" source="all" title="All, interleaved" /></div> : <Sources view={view} />}
    </div>
  );
}

function Sources({ view }: { view: string }) {
  useEffect(() => want("logs"), []);
  const grid = useRef<HTMLDivElement>(null);
  const split = Math.min(95, Math.max(5, prefs.value.logSplit));
  const proxy = <LogPanel ring={logs.proxy} title="Proxy" revision={logRevision} />;
  const upstream = <LogPanel ring={logs.upstream} title="Models" revision={logRevision} />;
  if (view !== "panels") return <div class="log-grid single">{view === "proxy" ? proxy : upstream}</div>;
  const drag = (event: PointerEvent) => {
    if (event.buttons === 0) return;
    const box = grid.current!.getBoundingClientRect();
    setPref("logSplit", Math.round(Math.min(95, Math.max(5, (100 * (event.clientX - box.left)) / box.width))));
  };
  const key = (event: KeyboardEvent) => {
    const by = { ArrowLeft: -2, ArrowRight: 2 }[event.key];
    if (by) setPref("logSplit", Math.min(95, Math.max(5, split + by)));
  };
  return (
    <div class="log-grid" ref={grid} style={{ "--split": `${split}%` }}>
      {proxy}
      <div class="splitter" role="separator" tabIndex={0} aria-label="Width of the proxy log" aria-orientation="vertical" aria-valuenow={split} aria-valuemin={5} aria-valuemax={95}
        onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)} onPointerMove={drag} onKeyDown={key} />
      {upstream}
    </div>
  );
}
