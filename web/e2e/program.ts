// The real program as a child, as a user runs it.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");
const venv = join(root, ".venv/bin/python");
export const python = process.env["LLAMASWAP_PYTHON"] ?? (existsSync(venv) ? venv : "python3");

export interface Program {
  url: string;
  process: ChildProcess;
  log: () => string;
  stop: () => Promise<void>;
}

export async function startProgram(flags: string[] = [], listen = "127.0.0.1:0", env: Record<string, string> = {}): Promise<Program> {
  const child = spawn(python, ["-m", "llamaswap", "-listen", listen, ...flags], { cwd: root, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.on("data", (data: Buffer) => (output += data.toString()));
  child.stderr.on("data", (data: Buffer) => (output += data.toString()));
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
    await ended;
  };
  const deadline = Date.now() + 30_000;
  for (;;) {
    const url = /listening on (https?:\/\/\S+)/.exec(output)?.[1];
    if (url) return { url, process: child, log: () => output, stop };
    if (child.exitCode !== null || Date.now() > deadline) {
      child.kill("SIGKILL");
      throw new Error(`the program did not start:\n${output}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

export function configFile(text: string): string {
  const path = join(mkdtempSync(join(tmpdir(), "llamaswap-ui-")), "config.yaml");
  writeFileSync(path, text);
  return path;
}

export const fakeUpstream = join(root, "tests/integration/fake_upstream.py");
