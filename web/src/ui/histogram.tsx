// A distribution as bars, with labelled marks at its percentiles.
import type { Histogram as Data } from "../wire/types";

const WIDTH = 480;
const HEIGHT = 130;
const LEFT = 34;
const TOP = 18;
const BOTTOM = 20;

export function Histogram({ data, unit, label }: { data: Data | null; unit: string; label: string }) {
  if (!data) return <div class="tight"><h3>{label}</h3><p class="muted">{`No ${label.toLowerCase()} data yet`}</p></div>;
  const most = Math.max(1, ...data.bins);
  const plot = HEIGHT - TOP - BOTTOM;
  const single = data.bins.length === 1 || data.max <= data.min;
  const width = (WIDTH - LEFT) / data.bins.length;
  const x = (value: number) => (single ? LEFT + (WIDTH - LEFT) / 2 : LEFT + ((value - data.min) / (data.max - data.min)) * (WIDTH - LEFT));
  const bins = single ? [data.bins.reduce((a, b) => a + b, 0)] : data.bins;
  const top = single ? bins[0]! : most;
  const parts = top % 2 ? [0, 1] : [0, 0.5, 1]; // there is no half a request
  const marks: [string, number][] = [["p50", data.p50], ["p95", data.p95], ["p99", data.p99]];
  return (
    <div class="tight">
      <h3>{label} <span class="muted caption">{unit}</span></h3>
      <svg class="histogram" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`${label}: median ${data.p50.toFixed(1)}, 95 % below ${data.p95.toFixed(1)} ${unit}`}>
        {parts.map((part) => <line key={part} x1={LEFT} x2={WIDTH} y1={TOP + plot * (1 - part)} y2={TOP + plot * (1 - part)} />)}
        {parts.map((part) => <text key={part} x={LEFT - 6} y={TOP + plot * (1 - part) + 4} text-anchor="end">{top * part}</text>)}
        {bins.map((number, i) => {
          const height = (number / Math.max(1, top)) * plot;
          const left = single ? LEFT + (WIDTH - LEFT) / 2 - 24 : LEFT + i * width + 1;
          const low = data.min + i * data.binSize;
          return <rect key={i} x={left} width={single ? 48 : Math.max(1, width - 2)} y={TOP + plot - height} height={height}><title>{`${low.toFixed(1)} – ${(single ? data.max : low + data.binSize).toFixed(1)} ${unit}\nCount: ${number}`}</title></rect>;
        })}
        {!single && marks.map(([name, value]) => <line key={name} class="p" x1={x(value)} x2={x(value)} y1={TOP - 4} y2={TOP + plot} />)}
      </svg>
      <div class="row caption muted num"><span>{data.min.toFixed(1)}</span><span class="push">{marks.map(([name, value]) => `${name} ${value.toFixed(1)}`).join("  ·  ")}</span><span class="push">{data.max.toFixed(1)}</span></div>
    </div>
  );
}
