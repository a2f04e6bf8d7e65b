import { Card } from "../ui/basics";
import { Timeline } from "../ui/timeline";
import { decisions, want } from "../state/live";
import { useEffect } from "preact/hooks";
import { clock } from "../lib/format";
import { sentence } from "../lib/residency";

export default function TimelinePage() {
  useEffect(() => want("decisions"), []);
  const list = decisions.value.slice(-100).reverse();
  return (
    <>
      <div class="page-head"><h1 tabIndex={-1}>Timeline</h1><span class="muted">which model was loaded when, and who waited for whom</span></div>
      <Card><div class="body"><Timeline /></div></Card>
      {list.length > 0 && (
        <Card title="Decisions of the scheduler">
          <div class="scroll-x" tabIndex={0} role="group" aria-label="Decisions">
            <table class="table">
              <thead><tr><th>Time</th><th class="wide-only">Model</th><th>Why</th></tr></thead>
              <tbody>{list.map((decision, i) => <tr key={i}><td class="nowrap muted tabular" title={decision.time}>{clock(decision.time)}</td><td class="wide-only">{decision.model}</td><td>{sentence(decision)}</td></tr>)}</tbody>
            </table>
          </div>
        </Card>
      )}
    </>
  );
}
