// The real program as a child, as a user runs it.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");
/** A folder that goes with all others when the checks have ended: see setup.ts. */
export const folder = (): string => mkdtempSync(join(tmpdir(), "f-"));
const venv = join(root, ".venv/bin/python");
export const python = process.env["LLAMASWAP_PYTHON"] ?? (existsSync(venv) ? venv : "python3");

export interface Program {
  url: string;
  process: ChildProcess;
  log: () => string;
  stop: () => Promise<void>;
}

const running = new Set<ChildProcess>();
/** What a check that failed, or a run that was stopped, left behind. */
export const endAll = (): void => running.forEach((child) => child.kill("SIGTERM"));
process.on("exit", endAll);

export async function startProgram(flags: string[] = [], where = root): Promise<Program> {
  const child = spawn(python, ["-m", "llamaswap", "-listen", "127.0.0.1:0", ...flags], { cwd: where, stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  child.once("exit", () => running.delete(child));
  let output = "";
  child.stdout.on("data", (data: Buffer) => (output += data.toString()));
  child.stderr.on("data", (data: Buffer) => (output += data.toString()));
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
    await ended;
  };
  const deadline = Date.now() + 60_000;
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

const [LOWEST, HIGHEST] = [10_000, 32_700];
/** A port that shows that a row is taken, and twenty to use: as the Python tests do it, so that both may run at once. */
const ROW = 21;

/** The first of twenty ports that nobody else uses, for as long as this process lives. */
async function freePorts(): Promise<number> {
  for (;;) {
    const guard = LOWEST + Math.floor((Math.random() * (HIGHEST - LOWEST)) / ROW) * ROW;
    const claim = await claimed(guard);
    if (!claim) continue;
    const others = await Promise.all(Array.from({ length: ROW - 1 }, (_, i) => claimed(guard + 1 + i)));
    for (const other of others) other?.close();
    if (others.every(Boolean)) return guard + 1;
    claim.close();
  }
}

const claimed = (port: number): Promise<Server | null> =>
  new Promise((resolve) => {
    const server = createServer().unref();
    server.once("error", () => resolve(null));
    server.listen(port, "127.0.0.1", () => resolve(server));
  });

/** Write a configuration whose models get ports of their own. */
export async function configFile(text: string): Promise<string> {
  const path = join(folder(), "config.yaml");
  writeFileSync(path, `startPort: ${await freePorts()}\n${text}`);
  return path;
}

/** The program with its demo models. */
export async function startDemo(): Promise<Program> {
  const text = execFileSync(python, ["-c", "import sys; from llamaswap.demo.config import demo_config_text as text; print(text(sys.executable))"], { cwd: root, encoding: "utf8" });
  return startProgram(["-config", await configFile(text)]);
}

/** The program as a checkout has it before the UI was built. */
export async function startUnbuilt(): Promise<Program> {
  const where = folder();
  cpSync(join(root, "llamaswap"), join(where, "llamaswap"), { recursive: true, filter: (path) => !/_web|__pycache__/.test(path) });
  return startProgram([], where);
}

export const fakeUpstream = join(root, "tests/integration/fake_upstream.py");
