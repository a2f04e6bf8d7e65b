// What is around every page: navigation, status strip, banners, dialogs, toasts.
import { computed, effect, signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { activate, cancelRequest, fetchProfiles, load, profiles, switching, unload, unloadAll } from "../state/actions";
import { activeProfile, configRevision, connection, connections, connectionSince, freshAt, inflight, inflightByModel, localModels, models, online, perf, queued, retryAt, retryNow } from "../state/live";
import { banner, dismiss, outdated, question, toasts } from "../state/notices";
import { prefs, setPref } from "../state/prefs";
import { go, href, modelHref, navigated, page, route, setQuery } from "../state/router";
import { clock, gib, plural, span } from "../lib/format";
import { root } from "../wire/api";
import { busyPlayground } from "../state/playground";
import { Button, Chip, Dialog, Select } from "./basics";
import { Icon } from "./icons";
import { ModelState, Ttl, modelName, OFFLINE } from "./model";
import { slowTick } from "./ticker";
import { recentErrors } from "./errors";

const PAGES: [string, string, string, string][] = [
  ["overview", "", "Overview", "o"],
  ["models", "models", "Models", "m"],
  ["activity", "activity", "Activity", "a"],
  ["logs", "logs", "Logs", "l"],
  ["performance", "performance", "Performance", "p"],
  ["timeline", "timeline", "Timeline", "t"],
  ["playground", "playground/chat", "Playground", "y"],
];
const SECOND: [string, string, string, string][] = [
  ["hardware", "hardware", "Hardware", "h"],
  ["settings", "settings", "Settings", "s"],
];

export const instanceTitle = computed(() => prefs.value.title || document.querySelector<HTMLMetaElement>('meta[name="llamaswap-title"]')?.content || "llamaswap");

const sheet = signal(false);
const palette = signal(false);
const shortcuts = signal(false);

export const pageTitle = computed(() => {
  const { page: name, arg } = route.value;
  if (name === "model") return arg;
  if (name === "capture") return `Capture #${arg}`;
  if (name === "missing") return "Page not found";
  return [...PAGES, ...SECOND].find(([id]) => id === name)?.[2] ?? "Overview";
});

effect(() => {
  const mark = { connected: "", released: "", connecting: "… ", disconnected: "! ", unauthorised: "! " }[connection.value];
  const busy = prefs.value.countInTitle && inflight.value.length ? `(${inflight.value.length}) ` : "";
  document.title = `${mark}${busy}${pageTitle.value} · ${instanceTitle.value}`;
});

const darkQuery = typeof matchMedia === "function" ? matchMedia("(prefers-color-scheme: dark)") : null;
const systemDark = signal(darkQuery?.matches ?? false);
darkQuery?.addEventListener("change", (event) => (systemDark.value = event.matches));
export const dark = computed(() => prefs.value.theme === "dark" || (prefs.value.theme === "system" && systemDark.value));

effect(() => {
  const look = document.documentElement.dataset;
  look["theme"] = dark.value ? "dark" : "light";
  look["accent"] = prefs.value.accent;
  look["density"] = prefs.value.density;
  if (prefs.value.contrast) look["contrast"] = "more";
  else delete look["contrast"];
});

export function Shell({ children }: { children: ComponentChildren }) {
  useKeys();
  useEffect(() => {
    const stops = [
      configRevision.subscribe(() => void fetchProfiles()),
      connections.subscribe((n) => {
        if (n > 1) void fetchProfiles();
      }),
      navigated.subscribe((n) => {
        sheet.value = false;
        const left = document.activeElement;
        if (!n) return;
        requestAnimationFrame(() => {
          scrollTo(0, 0);
          focusHeading(left);
        });
      }),
    ];
    return () => stops.forEach((stop) => stop());
  }, []);
  const wide = prefs.value.navOpen;
  return (
    <div class={`shell ${wide ? "" : "narrow-nav"}`}>
      <a class="button skip" href="#main" onClick={(event) => { event.preventDefault(); document.querySelector<HTMLElement>("main")?.focus(); }}>Skip to content</a>
      <Nav />
      {sheet.value && <Dialog title="Pages" className="sheet" onClose={() => (sheet.value = false)}><Nav /></Dialog>}
      <div class="side">
        <Top />
        <Strip />
        <Banners />
        <main id="main" tabIndex={-1} class={["logs", "activity", "models"].includes(page.value) ? "full" : ""}>{connection.value === "unauthorised" ? <SignIn /> : children}</main>
      </div>
      <Toasts />
      {palette.value && <Palette />}
      {shortcuts.value && <Shortcuts />}
      {question.value && <Ask />}
    </div>
  );
}

/** The heading of a page that was opened gets the focus, unless something of the page has it by then. */
function focusHeading(left: Element | null, tries = 30): void {
  const heading = document.querySelector<HTMLElement>("main h1");
  const focused = document.activeElement;
  if (focused !== left && focused?.closest("main *")) return; // somebody has gone on
  if (heading) heading.focus({ preventScroll: true });
  else if (tries) setTimeout(() => focusHeading(left, tries - 1), 30);
}

function Nav() {
  const here = page.value;
  const shown = localModels.value.filter((model) => prefs.value.pinned.includes(model.id) || !["stopped", "shutdown"].includes(model.state));
  const item = ([id, path, name, key]: [string, string, string, string]) => (
    <li key={id}>
      <a class="item" href={href(path)} title={`${name} (g ${key})`} aria-current={here === id ? "page" : undefined}>
        <Icon name={id} />
        <span class="label">{name}</span>
        {id === "playground" && busyPlayground.value && <Chip tone="busy">busy</Chip>}
      </a>
      {id === "models" && shown.length > 0 && (
        <ul>
          {shown.map((model) => (
            <li key={model.id}><a class="item sub" href={modelHref(model.id)} title={model.id} aria-current={here === "model" && route.value.arg === model.id ? "page" : undefined}><span class="cut">{modelName(model)}</span><span class="push"><ModelState model={model} /></span></a></li>
          ))}
        </ul>
      )}
    </li>
  );
  return (
    <nav class="nav" aria-label="Pages">
      <div class="brand"><img src={`${root}/ui/icon.svg`} alt="" width="20" height="20" /><span class="label cut">{instanceTitle.value}</span></div>
      <ul>{PAGES.map(item)}</ul>
      <ul class="second">{SECOND.map(item)}</ul>
    </nav>
  );
}

const THEMES = ["system", "light", "dark"] as const;

function Top() {
  const { page: name, arg } = route.value;
  const next = THEMES[(THEMES.indexOf(prefs.value.theme) + 1) % THEMES.length]!;
  const current = profiles.value.find((profile) => profile.id === activeProfile.value);
  const pins = current ? Object.entries(current.pins).map(([from, to]) => `${from} → ${to || "disabled"}`).join("\n") : "";
  return (
    <header class="top">
      <span class="narrow-only"><Button kind="quiet" icon="menu" label="Open navigation" onClick={() => (sheet.value = true)} /></span>
      <span class="crumb cut">
        {name === "model" ? <><a href={href("models")}>Models</a> / {arg}</> : name === "playground" ? <>Playground / <span class="first-up">{(arg || "chat").replace("load", "load test")}</span></> : pageTitle.value}
      </span>
      <span class="push" />
      {profiles.value.length > 0 && (
        <span class="row" title={current ? `${current.description}\n${pins}`.trim() : "No active profile"}>
          <Select label="Profile" value={activeProfile.value ?? ""} disabled={switching.value || !online.value} options={[["", "No profile"], ...profiles.value.map((profile) => [profile.id, profile.id] as const)]} onChange={(id) => void activate(id || null)} />
        </span>
      )}
      <Button kind="quiet" icon="search" label="Command palette (Ctrl+K)" onClick={() => (palette.value = true)} />
      <Button kind="quiet" icon="theme" label={`Theme: ${prefs.value.theme}. Switch to ${next}`} onClick={() => setPref("theme", next)} />
    </header>
  );
}

function Strip() {
  void slowTick.value;
  const running = localModels.value.filter((model) => ["starting", "ready", "stopping"].includes(model.state));
  const newest = perf.value.gpu.at(-1)?.timestamp;
  const cards = perf.value.gpu.filter((sample) => sample.timestamp === newest && sample.mem_total_mb);
  const errors = recentErrors.value;
  return (
    <div class="strip" role="region" aria-label="Status">
      <ConnectionState />
      {models.value !== null && (
        <>
          {running.slice(0, 6).map((model) => <span key={model.id} class="row"><a href={modelHref(model.id)} title={modelName(model)}>{modelName(model)}</a> <ModelState model={model} />{model.ttl_expires && model.state === "ready" && <span class="wide-only"><Ttl model={model} /></span>}</span>)}
          {running.length > 6 && <a href={href("models")}>{running.length - 6} more</a>}
          {cards.map((card) => <span key={card.id} class="row" title={`GPU ${card.id} ${card.name}: ${gib(card.mem_used_mb!)} of ${gib(card.mem_total_mb!)} GiB`}>GPU {card.id}<span class="bar"><i style={{ width: `${(100 * card.mem_used_mb!) / card.mem_total_mb!}%` }} /></span></span>)}
          <a href={href("activity")}>{inflight.value.length} in flight</a>
          {queued.value > 0 && <span>{queued.value} queued</span>}
          {errors > 0 && <a href={href("activity?range=15m&status=error")}>{plural(errors, "error")} in 15 min</a>}
        </>
      )}
    </div>
  );
}

function ConnectionState() {
  const [tone, mark, word] = ({
    connected: ["ok", "disc", "Connected"],
    connecting: ["busy", "arc", "Connecting"],
    disconnected: ["bad", "triangle", "Disconnected"],
    unauthorised: ["bad", "triangle", "Not signed in"],
    released: ["idle", "ring", "Paused"],
  } as const)[connection.value];
  return (
    <span class="row" id="connection">
      <span class={`state ${tone}`}><svg viewBox="0 0 12 12" aria-hidden="true">{mark === "triangle" ? <path d="M6 .8 11.600 11H.4Z" fill="currentColor" /> : <circle cx="6" cy="6" r="4.500" fill={mark === "disc" ? "currentColor" : "none"} stroke="currentColor" stroke-width="1.500" />}</svg>{word}</span>
      {connection.value === "disconnected" && freshAt.value > 0 && <span>as of {clock(freshAt.value)}</span>}
    </span>
  );
}

const second = signal(Date.now());
setInterval(() => {
  if (connection.peek() !== "connected" && !document.hidden) second.value = Date.now();
}, 250);

function Banners() {
  const lost = connection.value === "disconnected" && second.value - connectionSince.value >= 3_000;
  const left = Math.max(0, Math.ceil((retryAt.value - second.value) / 1000));
  return (
    <div aria-live="polite">
      {lost && <div class="banner"><Icon name="warn" />Connection lost – retrying in {left} s<Button small onClick={retryNow}>Retry now</Button></div>}
      {outdated.value && <div class="banner info">The UI was updated.<Button small onClick={() => location.reload()}>Reload to update</Button></div>}
      {banner.value && (
        <div class={`banner ${banner.value.tone}`}>
          <Icon name={banner.value.tone === "ok" ? "refresh" : "warn"} />
          <span>{banner.value.text}</span>
          {banner.value.detail && <span class="small">{banner.value.detail}</span>}
          <Button small kind="quiet" icon="close" label="Dismiss" onClick={() => (banner.value = null)} />
        </div>
      )}
    </div>
  );
}

/** The browser asks for the key itself when the page is loaded anew; we never hold it. */
function SignIn() {
  return (
    <div class="card"><div class="body stack">
      <h1 tabIndex={-1}>Sign in</h1>
      <p>The server asks for an API key. Your browser will ask for it: leave the user name as it is and enter the key as the password.</p>
      <div class="row"><Button kind="primary" onClick={() => void signIn()}>Sign in</Button></div>
    </div></div>
  );
}

async function signIn(): Promise<void> {
  const answer = await fetch(`${root}/api/version`, { headers: { Accept: "text/html" } }).catch(() => null);
  if (answer?.ok) retryNow();
  else location.reload();
}

function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((entry) => (
        <div key={entry.id} class={`toast ${entry.tone}`}>
          <span>{entry.text}</span>
          <span class="push row">
            {entry.action && <Button small onClick={() => { entry.action!.run(); dismiss(entry.id); }}>{entry.action.label}</Button>}
            <Button small kind="quiet" icon="close" label="Dismiss" onClick={() => dismiss(entry.id)} />
          </span>
        </div>
      ))}
    </div>
  );
}

function Ask() {
  const asked = question.value!;
  return (
    <Dialog title={asked.title} onClose={() => asked.answer(false)} footer={<><Button onClick={() => asked.answer(false)}>Cancel</Button><Button kind="primary" onClick={() => asked.answer(true)}>{asked.confirm}</Button></>}>
      <p>{asked.text}</p>
    </Dialog>
  );
}

// --- command palette --------------------------------------------------------------------------------

interface Command {
  name: string;
  hint: string;
  run: () => void;
}

function commands(): Command[] {
  const list: Command[] = [...PAGES, ...SECOND].map(([, path, name]) => ({ name, hint: "page", run: () => go(path) }));
  for (const model of localModels.value) {
    const name = modelName(model);
    list.push({ name: `Open ${name}`, hint: "model", run: () => go(modelHref(model.id)) });
    if (online.value && model.state === "stopped") list.push({ name: `Load ${name}`, hint: "model", run: () => void load(model) });
    if (online.value && (model.state === "ready" || model.state === "starting")) list.push({ name: `Unload ${name}`, hint: "model", run: () => void unload(model) });
    list.push({ name: `Logs of ${name}`, hint: "model", run: () => go(`${modelHref(model.id)}?tab=logs`) });
  }
  for (const profile of profiles.value) list.push({ name: `Activate profile ${profile.id}`, hint: "profile", run: () => void activate(profile.id) });
  if (profiles.value.length) list.push({ name: "No profile", hint: "profile", run: () => void activate(null) });
  for (const theme of THEMES) list.push({ name: `Theme: ${theme}`, hint: "appearance", run: () => setPref("theme", theme) });
  if (online.value) list.push({ name: "Unload all models", hint: "model", run: () => void unloadAll() });
  list.push({ name: "Keyboard shortcuts", hint: "help", run: () => (shortcuts.value = true) });
  return list;
}

/** Letters in order, not necessarily side by side; earlier and denser is better. */
export function fuzzy(query: string, text: string): number {
  const wanted = query.toLowerCase().replaceAll(" ", "");
  const hay = text.toLowerCase();
  const direct = hay.indexOf(query.toLowerCase());
  if (direct >= 0) return 1000 - direct;
  let at = -1;
  let gaps = 0;
  for (const letter of wanted) {
    const found = hay.indexOf(letter, at + 1);
    if (found < 0) return -1;
    gaps += found - at - 1;
    at = found;
  }
  return 500 - gaps;
}

const paletteQuery = signal("");
const paletteAt = signal(0);

function Palette() {
  const input = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => {
    paletteQuery.value = "";
    paletteAt.value = 0;
    input.current?.focus();
  }, []);
  const query = paletteQuery.value.trim();
  const found = commands()
    .map((command) => ({ command, score: query ? fuzzy(query, command.name) : 0 }))
    .filter(({ score }) => score >= 0)
    .sort((a, b) => b.score - a.score)
    .slice(0, 40)
    .map(({ command }) => command);
  const close = () => (palette.value = false);
  const run = (command: Command | undefined) => {
    close();
    if (command) setTimeout(command.run);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown") paletteAt.value = Math.min(found.length - 1, paletteAt.value + 1);
    else if (event.key === "ArrowUp") paletteAt.value = Math.max(0, paletteAt.value - 1);
    else if (event.key === "Enter") run(found[paletteAt.value]);
    else return;
    event.preventDefault();
    document.getElementById(`command-${paletteAt.value}`)?.scrollIntoView({ block: "nearest" });
  };
  return (
    <Dialog title="Command palette" className="palette" onClose={close}>
      <input ref={input} role="combobox" aria-label="Command" aria-expanded="true" aria-controls="commands" aria-activedescendant={found.length ? `command-${paletteAt.value}` : undefined} placeholder="Page, model, profile, theme …" value={paletteQuery.value} onKeyDown={onKeyDown}
        onInput={(event) => { paletteQuery.value = event.currentTarget.value; paletteAt.value = 0; }} />
      <div id="commands" role="listbox" aria-label="Commands" tabIndex={-1}>
        {found.map((command, i) => (
          <div key={command.name} id={`command-${i}`} role="option" tabIndex={-1} aria-selected={i === paletteAt.value} onClick={() => run(command)}>
            <span class="cut">{command.name}</span><span class="push muted small">{command.hint}</span>
          </div>
        ))}
        {!found.length && <p class="empty">Nothing matches</p>}
      </div>
    </Dialog>
  );
}

// --- keyboard ---------------------------------------------------------------------------------------

const KEYS: [string, string][] = [
  ["Ctrl K", "Command palette"], ["Ctrl B", "Collapse the navigation"],
  ...[...PAGES, ...SECOND].map(([, , name, key]) => [`g ${key}`, name] as [string, string]),
  ["/", "Filter of the page"], ["j k", "Next and previous row"], ["Enter", "Open the row"], ["u l", "Unload, load the focused model"],
  ["← →", "Previous and next capture or page"], ["← → Home", "On the edge of a column: its width"], ["End, f", "Follow the log"], ["?", "This list"], ["Esc", "Close"],
];

const Shortcuts = () => (
  <Dialog title="Keyboard shortcuts" onClose={() => (shortcuts.value = false)}>
    <dl class="facts">{KEYS.map(([key, does]) => [<dt key={key}><kbd>{key}</kbd></dt>, <dd key={does}>{does}</dd>])}</dl>
    <p class="muted small">Single letters can be switched off in the settings.</p>
  </Dialog>
);

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));
}

function useKeys(): void {
  useLayoutEffect(() => {
    let prefix = 0;
    const onKey = (event: KeyboardEvent) => {
      const command = event.ctrlKey || event.metaKey;
      const key = event.key.toLowerCase();
      if (command && !event.shiftKey && !event.altKey && (key === "k" || key === "b")) {
        event.preventDefault();
        if (key === "k") palette.value = !palette.value;
        else setPref("navOpen", !prefs.peek().navOpen);
        return;
      }
      if (command || event.altKey || typing(event.target) || palette.peek() || document.querySelector("dialog[open]") || !prefs.peek().keys) return;
      if (prefix && Date.now() - prefix < 1500) {
        prefix = 0;
        const target = [...PAGES, ...SECOND].find(([, , , letter]) => letter === key);
        if (target) {
          event.preventDefault();
          go(target[1]);
        }
        return;
      }
      if (key === "g") prefix = Date.now();
      else if (key === "?") shortcuts.value = true;
      else if (key === "/") {
        const filter = document.querySelector<HTMLElement>("main [data-filter]");
        if (filter) {
          event.preventDefault();
          filter.focus();
        }
      } else if (key === "j" || key === "k") moveRow(key === "j" ? 1 : -1);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}

function moveRow(by: number): void {
  const rows = [...document.querySelectorAll<HTMLElement>("main tr[tabindex]:not([hidden], [hidden] *)")];
  const at = rows.indexOf(document.activeElement as HTMLElement);
  rows[Math.max(0, Math.min(rows.length - 1, at + by))]?.focus();
}

export { cancelRequest, inflightByModel, OFFLINE, setQuery, span };
