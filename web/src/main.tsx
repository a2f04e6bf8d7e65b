import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/pages.css";
import { signal } from "@preact/signals";
import { type ComponentType, render } from "preact";
import { useEffect } from "preact/hooks";
import Overview from "./pages/overview";
import { page, startRouter, type PageName } from "./state/router";
import { startHistory } from "./state/history";
import { startStream } from "./state/stream";
import { Button, Skeletons } from "./ui/basics";
import { startErrorCount } from "./ui/errors";
import { Shell } from "./ui/shell";
import { startTicker } from "./ui/ticker";

type Loader = () => Promise<{ default: ComponentType }>;

const LAZY: Partial<Record<PageName, Loader>> = {
  models: () => import("./pages/models"),
  model: () => import("./pages/model"),
  activity: () => import("./pages/activity"),
  capture: () => import("./pages/capture"),
  logs: () => import("./pages/logs"),
  performance: () => import("./pages/performance"),
  timeline: () => import("./pages/timeline"),
  playground: () => import("./pages/playground/index"),
  hardware: () => import("./pages/hardware"),
  settings: () => import("./pages/settings"),
  missing: () => import("./pages/missing"),
};

const loaded = signal<Partial<Record<PageName, ComponentType>>>({ overview: Overview });
const broken = signal<PageName | null>(null);

function Page() {
  const name = page.value;
  useEffect(() => {
    const loader = LAZY[name];
    if (loaded.peek()[name] || !loader) return;
    loader().then(
      (module) => (loaded.value = { ...loaded.value, [name]: module.default }),
      () => (broken.value = name), // the server was upgraded: this file is no more
    );
  }, [name]);
  const Found = loaded.value[name];
  if (Found) return <Found />;
  if (broken.value === name) return <Updated />;
  return <Skeletons rows={6} label="Loading the page" />;
}

const Updated = () => (
  <div class="card">
    <div class="body stack">
      <h1 tabIndex={-1}>The UI was updated</h1>
      <p>This page belongs to an older version of the program. Reload to get the current one.</p>
      <div class="row">
        <Button kind="primary" onClick={() => location.reload()}>Reload</Button>
      </div>
    </div>
  </div>
);

startRouter();
startTicker();
startStream();
startHistory();
startErrorCount();
render(<Shell><Page /></Shell>, document.getElementById("app")!);
