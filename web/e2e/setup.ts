// Says plainly what is missing, before any check runs.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "./chromium";

export default function setup(): void {
  if (!existsSync(join(import.meta.dirname, "../../llamaswap/_web/manifest.json"))) throw new Error("The UI is not built: run `npm run build` first.");
  if (!chromium()) throw new Error("No Chromium: install it (Debian: apt install chromium) or set LLAMASWAP_CHROMIUM to its path.");
}
