import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api } from "../wire/api";
import type { Accelerator, Hardware } from "../wire/types";
import { absolute, capacity } from "../lib/format";
import { messageOf } from "../state/actions";
import { route, href } from "../state/router";
import { Button, Card, CopyButton, Empty, ErrorNote, Skeletons } from "../ui/basics";
import { hardwareText } from "../lib/hardwaretext";

const NONE = "Not detected";
const or = (value: string | number | null): string => (value === null || value === "" ? NONE : String(value));

export default function HardwarePage() {
  const data = useSignal<Hardware | null>(null);
  const version = useSignal("");
  const problem = useSignal("");
  const ask = () => {
    problem.value = "";
    api.hardware().then((got) => (data.value = got), (error) => (problem.value = messageOf(error)));
    api.version().then((got) => (version.value = got.version), () => undefined);
  };
  useEffect(ask, []);
  const text = route.value.query.get("view") === "text";
  const got = data.value;
  return (
    <>
      <div class="page-head">
        <h1 tabIndex={-1}>Hardware</h1>
        {got && <span class="muted small">as of {absolute(got.captured_at)}</span>}
        <span class="push" />
        <Button icon="refresh" onClick={ask}>Refresh</Button>
      </div>
      <nav class="tabs" aria-label="Views of the hardware">
        <a href={href("hardware")} aria-current={text ? undefined : "page"}>Overview</a>
        <a href={href("hardware?view=text")} aria-current={text ? "page" : undefined}>Text</a>
      </nav>
      {problem.value && <ErrorNote text={problem.value} retry={ask} stale={got !== null} />}
      {!got ? !problem.value && <Card><Skeletons rows={6} label="Loading the hardware" /></Card> : text ? (
        <Card title="For a bug report" actions={<CopyButton text={hardwareText(got, version.value)} />}><div class="body"><pre class="code" tabIndex={0}>{hardwareText(got, version.value)}</pre></div></Card>
      ) : (
        <div class="grid2">
          <Card title="System"><Facts facts={[["Operating system", or(got.os)], ["Kernel", or(got.kernel)], ["Architecture", or(got.architecture)], ["Environment", or(got.environment)], ["Memory", capacity(got.memoryBytes)]]} /></Card>
          <Card title="CPU"><Facts facts={[["Model", or(got.cpu.model)], ["Vendor", or(got.cpu.vendor)], ["Sockets", or(got.cpu.sockets)], ["Cores", or(got.cpu.cores)], ["Threads", or(got.cpu.threads)]]} /></Card>
          {got.accelerators.length === 0 ? <Card title="Accelerators"><Empty>No accelerators were detected or exposed to this process.</Empty></Card> : got.accelerators.map((item, i) => <AcceleratorCard key={i} item={item} index={i} />)}
        </div>
      )}
    </>
  );
}

const Facts = ({ facts }: { facts: [string, string][] }) => (
  <dl class="facts body">{facts.map(([name, value]) => [<dt key={`${name}t`}>{name}</dt>, <dd key={`${name}d`} class={value === NONE ? "muted" : ""}>{value}</dd>])}</dl>
);

function AcceleratorCard({ item, index }: { item: Accelerator; index: number }) {
  const kind = { gpu: "GPU", npu: "NPU" }[item.kind] ?? "Accelerator";
  return (
    <Card title={item.model ?? `${kind} ${index}`} actions={<span class="muted small">{[item.vendor, kind].filter(Boolean).join(" · ")}</span>}>
      <Facts facts={[["Architecture", or(item.architecture)], ["Memory", `${capacity(item.memoryBytes)}${item.memoryBytes ? ` (${item.memoryKind.replaceAll("_", " ")})` : ""}`], ["Driver", or(item.driver)], ["Power limit", item.power_limit_watts === null ? NONE : `${item.power_limit_watts} W`]]} />
    </Card>
  );
}
