// Requests under way: counted on between events, cancellable.
import { inflight, models, sessionHeaders } from "../state/live";
import { prefs, setPref } from "../state/prefs";
import { modelHref } from "../state/router";
import { arranged } from "../lib/columns";
import { bytes } from "../lib/format";
import type { Inflight } from "../wire/types";
import { Button, Empty, Skeletons } from "./basics";
import { ColumnMenu } from "./columnmenu";
import { CancelButton, Elapsed } from "./model";
import { ColumnHead, SizedTable } from "./sizedtable";

const ALL = ["cancel", "elapsed", "model", "request", "identity", "user_agent", "session_id", "bytes_received"] as const;
const TITLES: Record<string, string> = { cancel: "Cancel", elapsed: "Elapsed", model: "Model", request: "Request", identity: "Address", user_agent: "User Agent", session_id: "Session ID", bytes_received: "Bytes Received" };
const SHOWN = 1000;

/** A header's value whatever its spelling. */
export function header(headers: Record<string, string>, name: string): string {
  const wanted = name.toLowerCase();
  for (const [key, value] of Object.entries(headers)) if (key.toLowerCase() === wanted && value) return value;
  return "";
}

export function sessionOf(request: Inflight, names: string[]): string {
  for (const name of names) {
    const value = header(request.req_headers, name);
    if (value) return value;
  }
  return "";
}

const middle = (text: string): string => (text.length <= 48 ? text : `${text.slice(0, 24)}…${text.slice(-22)}`);

export function InflightTable({ model }: { model: string | null }) {
  const open = prefs.value.inflightOpen;
  const rows = inflight.value.filter((request) => !model || request.model === model);
  const wish = prefs.value.inflightColumns;
  const all = model ? ALL.filter((id) => id !== "model") : ALL;
  const columns = arranged(all, wish).filter((column) => column.visible).map((column) => column.id);
  return (
    <section class="card" aria-label="In-flight requests">
      <header>
        <Button kind="quiet" small icon={open ? "down" : "right"} label={open ? "Fold in-flight requests" : "Show in-flight requests"} expanded={open} onClick={() => setPref("inflightOpen", !open)} />
        <h2>In flight <span class="muted num">{rows.length}</span></h2>
        {open && <span class="push"><ColumnMenu table="inflight" all={all} titles={TITLES} wish={wish} label="Columns of in-flight requests" onChange={(next) => setPref("inflightColumns", next)} /></span>}
      </header>
      {open && (models.value === null ? <Skeletons rows={1} label="Loading in-flight requests" /> : rows.length === 0 ? <Empty>No in-flight requests</Empty> : (
        <SizedTable name="inflight" ids={columns} label="In-flight requests" class="cards">
          <thead><tr>{columns.map((id) => <ColumnHead key={id} id={id} title={TITLES[id]!} numeric={id === "elapsed" || id === "bytes_received"} quiet={id === "cancel"} />)}</tr></thead>
          <tbody>{rows.slice(0, SHOWN).map((request) => <tr key={request.id} data-request={request.id}>{columns.map((id) => <Cell key={id} id={id} request={request} />)}</tr>)}</tbody>
        </SizedTable>
      ))}
    </section>
  );
}

function Cell({ id, request }: { id: string; request: Inflight }) {
  switch (id) {
    case "cancel":
      return <td class="act"><CancelButton request={request} /></td>;
    case "elapsed":
      return <td class="num" data-label="Elapsed"><Elapsed request={request} /></td>;
    case "model":
      return <td class="main"><a class="whole" href={modelHref(request.model)} title={request.model}>{request.model}</a></td>;
    case "request":
      return <td class="mono main" title={`${request.method} ${request.req_path}`}>{middle(`${request.method} ${request.req_path}`)}</td>;
    case "identity":
      return <td class="nowrap" data-label="From">{request.remote_ip || "–"}</td>;
    case "user_agent":
      return <td class="main" data-label="User agent">{header(request.req_headers, "User-Agent") || "–"}</td>;
    case "session_id":
      return <td class="main" data-label="Session">{sessionOf(request, sessionHeaders.value) || "–"}</td>;
    default:
      return <td class="num" data-label="Received">{bytes(request.resp_bytes)}</td>;
  }
}
