// Holds the built files against the budgets. It fails, and says by how much, when one is exceeded.
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const folder = join(import.meta.dirname, "../../llamaswap/_web");
const files = readdirSync(join(folder, "assets")).filter((name) => !/\.(br|gz)$/.test(name));
const gzip = (path) => gzipSync(readFileSync(join(folder, path)), { level: 9 }).length;
const of = (start, suffix = ".js") => files.filter((name) => name.startsWith(`${start}-`) && name.endsWith(suffix));
const sum = (names) => names.reduce((total, name) => total + gzip(`assets/${name}`), 0);

const page = readFileSync(join(folder, "index.html"), "utf8");
const first = [...new Set(page.match(/assets\/[^"]+\.js/g) ?? [])];
const firstPaint = first.reduce((total, name) => total + gzip(name), 0) + gzip("boot.js") + sum(of("shared"));
const all = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => statSync(join(folder, name))).filter((stat) => stat.isFile());
const encoded = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((name) => statSync(join(folder, name)).isFile())
  .reduce((total, name) => total + (/\.(br|gz)$/.test(name) ? statSync(join(folder, name)).size : gzip(name)), 0);

const kB = 1000;
const budgets = [
  ["JS for first paint (shell, Overview, event worker), gzip", firstPaint, 45 * kB],
  ["CSS in all, gzip", sum(files.filter((name) => name.endsWith(".css"))), 14 * kB],
  ["Performance page extra, gzip", sum(of("performance")), 28 * kB],
  ["Playground extra without math, gzip", sum([...of("playground"), ...of("markdown"), ...of("chat")]), 70 * kB],
  ["Part in the wheel, compressed", encoded, 1.2 * 1024 * 1024],
];
let failed = false;
for (const [what, size, limit] of budgets) {
  const over = size > limit;
  failed ||= over;
  process.stdout.write(`${over ? "OVER" : "ok  "}  ${what}: ${(size / kB).toFixed(1)} of ${(limit / kB).toFixed(1)} kB\n`);
}
if (all.length === 0 || !first.length) {
  process.stdout.write("Nothing is built: run npm run build first.\n");
  failed = true;
}
process.exit(failed ? 1 : 0);
