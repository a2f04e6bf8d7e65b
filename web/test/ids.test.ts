import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

test("none of the 83 browser checks is missing", () => {
  const folder = join(__dirname, "../e2e");
  const text = readdirSync(folder).filter((name) => name.endsWith(".e2e.ts")).map((name) => readFileSync(join(folder, name), "utf8")).join("\n");
  const found = new Set([...text.matchAll(/check\("UI-(\d\d)"/g)].map((match) => Number(match[1])));
  const missing = Array.from({ length: 83 }, (_, i) => i + 1).filter((id) => !found.has(id));
  expect(missing).toEqual([]);
});

test("HTML becomes part of the page in one place only", () => {
  const sinks = /innerHTML|outerHTML|insertAdjacentHTML|dangerouslySetInnerHTML|document\.write|srcdoc/;
  const folder = join(__dirname, "../src");
  const users = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => /\.tsx?$/.test(name) && sinks.test(readFileSync(join(folder, name), "utf8")));
  expect(users).toEqual([join("lib", "trusted.ts")]);
});
