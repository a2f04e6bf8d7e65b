import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, json, logSoFar } from "../wire/api";
import type { Version } from "../wire/types";
import { connection, configRevision } from "../state/live";
import { messageOf } from "../state/actions";
import { ask, diagnostics, toast } from "../state/notices";
import { DEFAULTS, prefs, replacePrefs, setPref, type Prefs } from "../state/prefs";
import { absolute, plural } from "../lib/format";
import { saveText } from "../lib/save";
import { hardwareText } from "../lib/hardwaretext";
import { Button, Card, Check, Chip, CommitInput, CopyButton, ErrorNote, Field, Segmented, Select, Skeletons } from "../ui/basics";

export default function Settings() {
  return (
    <>
      <div class="page-head"><h1 tabIndex={-1}>Settings</h1><span class="muted">kept in this browser</span></div>
      <div class="grid2">
        <Appearance />
        <div class="stack"><Behaviour /><Build /></div>
      </div>
      <Configuration />
    </>
  );
}

const set = <K extends keyof Prefs>(key: K) => (value: string) => setPref(key, value as Prefs[K]);

function Appearance() {
  const p = prefs.value;
  return (
    <Card title="Appearance">
      <div class="body stack">
        <Row label="Theme"><Segmented label="Theme" value={p.theme} options={[["system", "System"], ["light", "Light"], ["dark", "Dark"]]} onChange={set("theme")} /></Row>
        <Row label="Accent"><Segmented label="Accent" value={p.accent} options={[["blue", "Blue"], ["teal", "Teal"], ["violet", "Violet"], ["amber", "Amber"], ["rose", "Rose"]]} onChange={set("accent")} /></Row>
        <Row label="Density"><Segmented label="Density" value={p.density} options={[["comfortable", "Comfortable"], ["compact", "Compact"]]} onChange={set("density")} /></Row>
        <Row label="Numbers"><Segmented label="Numbers" value={p.numbers} options={[["locale", "1,234"], ["plain", "1234"]]} onChange={set("numbers")} /></Row>
        <Check label="High contrast" checked={p.contrast} onChange={(on) => setPref("contrast", on)} />
        <Check label="Capability tags in the list of models" checked={p.capabilityTags} onChange={(on) => setPref("capabilityTags", on)} />
        <Field label="Title of this instance"><CommitInput value={p.title} maxLength={64} placeholder="llamaswap" onCommit={(title) => setPref("title", title.trim())} /></Field>
      </div>
    </Card>
  );
}

const Row = ({ label, children }: { label: string; children: preact.ComponentChildren }) => <div class="row wrap"><span style={{ minWidth: "90px" }}>{label}</span>{children}</div>;

function Behaviour() {
  const p = prefs.value;
  const load = (file: File | undefined) => {
    if (!file) return;
    void file.text().then((text) => {
      try {
        const raw = JSON.parse(text) as { prefs?: unknown };
        if (!raw.prefs) throw new Error("it holds no preferences");
        replacePrefs(raw.prefs);
        toast("ok", "Preferences imported");
      } catch (error) {
        toast("bad", `${file.name} was not imported: ${messageOf(error)}`);
      }
    });
  };
  return (
    <Card title="Behaviour">
      <div class="body stack">
        <Field label="Start page"><Select value={p.startPage} options={[["overview", "Overview"], ["models", "Models"], ["activity", "Activity"], ["timeline", "Timeline"], ["playground", "Playground"]]} onChange={(value) => setPref("startPage", value)} /></Field>
        <Field label="Log text"><Select value={p.logFont} options={[[0.6875, "Small"], [0.8125, "Normal"], [0.875, "Large"], [1, "Largest"]]} onChange={(value) => setPref("logFont", Number(value))} /></Field>
        <Check label="Keyboard shortcuts of one letter" checked={p.keys} onChange={(on) => setPref("keys", on)} />
        <Check label="Requests in flight in the title of the tab" checked={p.countInTitle} onChange={(on) => setPref("countInTitle", on)} />
        <div class="row wrap">
          <Button icon="download" onClick={() => saveText("llamaswap-ui.json", JSON.stringify({ v: 1, prefs: prefs.value }, null, 2), "application/json")}>Export</Button>
          <label class="button">Import<input type="file" accept="application/json" class="visually-hidden" onChange={(event) => load(event.currentTarget.files?.[0])} /></label>
          <Button kind="danger" onClick={() => void ask("Reset all preferences?", "Everything set on this page, columns, pins and remembered choices go back to their defaults.", "Reset").then((yes) => yes && replacePrefs(DEFAULTS))}>Reset all</Button>
        </div>
      </div>
    </Card>
  );
}

function Build() {
  const version = useSignal<Version | null>(null);
  useEffect(() => {
    api.version().then((got) => (version.value = got), () => undefined);
  }, []);
  const got = version.value;
  const { bad, unknown } = diagnostics.value;
  return (
    <Card title="Build and diagnostics">
      <div class="body stack">
        <dl class="facts">
          <dt>Event stream</dt><dd>{connection.value}</dd>
          <dt>Version</dt><dd>{got?.version || "unknown"}</dd>
          <dt>Commit</dt><dd><code>{got?.commit.slice(0, 7) || "unknown"}</code></dd>
          <dt>Built</dt><dd>{got?.build_date || "unknown"}</dd>
          <dt>Messages not understood</dt><dd id="diagnostics">{bad} bad, {unknown} of unknown type</dd>
        </dl>
        <div class="row"><Button icon="download" onClick={() => void diagnosticsBundle()}>Diagnostics bundle</Button></div>
      </div>
    </Card>
  );
}

/** What a bug report needs, and no secret: version, browser, machine, the end of the proxy's log. */
async function diagnosticsBundle(): Promise<void> {
  const version = await api.version().then((got) => got.version, () => "unknown");
  const hardware = await api.hardware().then((got) => hardwareText(got, version), (error) => `hardware: ${messageOf(error)}`);
  const log = await proxyTail().catch((error) => `log: ${messageOf(error)}`);
  saveText("llamaswap-diagnostics.txt", [hardware, `Browser:      ${navigator.userAgent}`, "", "Last lines of the proxy log", log].join("\n"));
}

async function proxyTail(): Promise<string> {
  return (await logSoFar("proxy")).split("\n").slice(-201).join("\n").replace(/\b(sk-|Bearer |Basic )[\w.+/=-]+/gi, "$1[hidden]");
}

interface ConfigFacts {
  sources?: string[];
  loaded_at?: string;
  yaml?: string;
  config?: unknown;
  warnings?: { message: string; path?: string; file?: string; line?: number }[];
  last_reload?: { ok: boolean; at: string; error?: string } | null;
}

function Configuration() {
  const facts = useSignal<ConfigFacts | null>(null);
  const problem = useSignal("");
  const revision = configRevision.value;
  const fetchIt = () => {
    json("/api/config").then(
      (got) => {
        facts.value = got as ConfigFacts;
        problem.value = "";
      },
      (error) => (problem.value = messageOf(error)),
    );
  };
  useEffect(fetchIt, [revision]);
  const got = facts.value;
  const text = got?.yaml ?? (got ? JSON.stringify(got.config ?? got, null, 2) : "");
  return (
    <Card title="Configuration in force" actions={got ? <CopyButton text={text} /> : undefined}>
      <div class="body stack">
        {problem.value && <ErrorNote text={problem.value} retry={fetchIt} />}
        {!got ? !problem.value && <Skeletons rows={4} label="Loading the configuration" /> : (
          <>
            <p class="muted small">{got.sources?.join(", ") || "built in"}{got.loaded_at && `, loaded ${absolute(got.loaded_at)}`}. Read-only; secrets are hidden.</p>
            {got.last_reload && !got.last_reload.ok && <ErrorNote text={`The last reload (${absolute(got.last_reload.at)}) failed: ${got.last_reload.error ?? "see the proxy log"}`} />}
            {got.warnings && got.warnings.length > 0 && <details><summary>{plural(got.warnings.length, "warning")}</summary><ul class="small">{got.warnings.map((warning, i) => <li key={i}><Chip tone="busy">warning</Chip> {warning.path} {warning.message} <span class="muted">{warning.file}{warning.line ? `:${warning.line}` : ""}</span></li>)}</ul></details>}
            <details><summary>Show it</summary><pre class="code" tabIndex={0}>{text}</pre></details>
          </>
        )}
      </div>
    </Card>
  );
}
