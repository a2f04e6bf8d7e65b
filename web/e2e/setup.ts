// Says plainly what is missing before any check runs; starts a program for each worker, shared by the
// checks that change nothing in it; and gives all that checks write one folder, which goes at the end.
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { chromium } from "./chromium";
import { endAll, startDemo } from "./program";

declare module "vitest" {
  export interface ProvidedContext {
    demos: string[];
  }
}

/** Short: below it lie sockets, whose path may have no more than 107 bytes. Then the process that owns it. */
const NAME = "lsui-";

const remove = (path: string) => rmSync(path, { recursive: true, force: true, maxRetries: 10 });

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Folders of runs that were killed. */
function sweep(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = Number(new RegExp(`^${NAME}(\\d+)-`).exec(name)?.[1] ?? process.pid);
    if (!isAlive(pid)) remove(join(tmpdir(), name));
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  if (!existsSync(join(import.meta.dirname, "../../llamaswap/_web/manifest.json"))) throw new Error("The UI is not built: run `npm run build` first.");
  if (!chromium()) throw new Error("No Chromium: install it (Debian: apt install chromium) or set LLAMASWAP_CHROMIUM to its path.");
  sweep();
  const scratch = mkdtempSync(join(tmpdir(), `${NAME}${process.pid}-`));
  process.env["TMPDIR"] = scratch; // of the workers, browsers and programs, too
  process.on("exit", () => remove(scratch));
  for (const [signal, number] of [["SIGTERM", 15], ["SIGHUP", 1]] as const)
    process.once(signal, () => {
      endAll();
      process.exit(128 + number);
    });
  const programs = await Promise.all(Array.from({ length: project.config.maxWorkers as number }, startDemo));
  project.provide("demos", programs.map((program) => program.url));
  return async () => {
    await Promise.all(programs.map((program) => program.stop()));
  };
}
