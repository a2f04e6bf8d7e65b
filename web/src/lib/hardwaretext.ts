// The machine in plain text, for a bug report.
import type { Hardware } from "../wire/types";
import { capacity } from "./format";

export function hardwareText(got: Hardware, version: string): string {
  const line = (name: string, value: string | number | null) => `${`${name}:`.padEnd(14)}${value ?? "Not detected"}`;
  const lines = [
    line("llamaswap", version || "unknown"),
    line("Captured", got.captured_at),
    line("OS", got.os),
    line("Kernel", got.kernel),
    line("Architecture", got.architecture),
    line("Environment", got.environment),
    line("CPU", [got.cpu.vendor, got.cpu.model].filter(Boolean).join(" ") || null),
    line("Cores", [got.cpu.sockets && `${got.cpu.sockets} sockets`, got.cpu.cores && `${got.cpu.cores} cores`, got.cpu.threads && `${got.cpu.threads} threads`].filter(Boolean).join(", ") || null),
    line("Memory", capacity(got.memoryBytes)),
  ];
  if (!got.accelerators.length) lines.push(line("Accelerators", "none detected"));
  got.accelerators.forEach((item, i) => lines.push(line(`${item.kind.toUpperCase()} ${i}`, [item.vendor, item.model, capacity(item.memoryBytes), item.driver].filter(Boolean).join(", "))));
  return lines.join("\n");
}
