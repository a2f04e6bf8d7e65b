// An HTTP status as shape, number and colour.
import { State } from "./basics";

export function Status({ code }: { code: number }) {
  if (!code) return <span class="muted">–</span>;
  if (code >= 500) return <State tone="bad" mark="triangle">{code}</State>;
  if (code >= 400) return <State tone="busy" mark="diamond">{code}</State>;
  return <State tone="ok" mark="disc">{code}</State>;
}
