// Says plainly what is missing before any check runs; starts the program that most checks share.
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { chromium } from "./chromium";
import { startDemo } from "./program";

declare module "vitest" {
  export interface ProvidedContext {
    demo: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  if (!existsSync(join(import.meta.dirname, "../../llamaswap/_web/manifest.json"))) throw new Error("The UI is not built: run `npm run build` first.");
  if (!chromium()) throw new Error("No Chromium: install it (Debian: apt install chromium) or set LLAMASWAP_CHROMIUM to its path.");
  const program = await startDemo();
  project.provide("demo", program.url);
  return program.stop;
}
