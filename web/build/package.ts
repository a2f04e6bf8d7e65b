// What the server needs of a build: compressed twins, a manifest, the build's own name, licences.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import type { Plugin } from "vite";

const TYPES: Record<string, string> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  json: "application/json",
  svg: "image/svg+xml",
  ico: "image/x-icon",
  png: "image/png",
  txt: "text/plain; charset=utf-8",
  webmanifest: "application/manifest+json",
};
const COMPRESSED = new Set(["html", "js", "css", "json", "svg", "txt", "webmanifest"]);
const WORTH_COMPRESSING = 1024;

export function packageBuild(): Plugin {
  let folder = "";
  return {
    name: "llamaswap-package",
    apply: "build",
    configResolved(config) {
      folder = join(config.root, config.build.outDir);
    },
    closeBundle() {
      writeFileSync(join(folder, "licences.txt"), licences(join(import.meta.dirname, "..")));
      const page = readFileSync(join(folder, "index.html"), "utf8");
      const build = createHash("sha256").update(page).digest("hex").slice(0, 12);
      const version = readFileSync(join(folder, "../__init__.py"), "utf8").match(/__version__ = "(.*?)"/)?.[1];
      writeFileSync(join(folder, "build.json"), JSON.stringify({ build, entry: entryOf(page), version: version ?? "0" }));
      const files = listed(folder).map((path) => describe(folder, path));
      writeFileSync(join(folder, "manifest.json"), JSON.stringify({ files }, null, 1));
    },
  };
}

/** The hashed main script: a running page compares it with its own to see that it is outdated. */
function entryOf(page: string): string {
  return page.match(/assets\/index-[^"]+\.js/)?.[0] ?? "";
}

function listed(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => relative(folder, join(folder, name)).replaceAll("\\", "/"))
    .filter((name) => statSync(join(folder, name)).isFile() && !/\.(br|gz)$/.test(name) && name !== "manifest.json")
    .sort();
}

function describe(folder: string, path: string) {
  const body = readFileSync(join(folder, path));
  const suffix = path.split(".").at(-1) ?? "";
  const encodings: string[] = [];
  if (COMPRESSED.has(suffix) && body.length >= WORTH_COMPRESSING) {
    const quality = { [constants.BROTLI_PARAM_QUALITY]: 11 };
    writeFileSync(join(folder, `${path}.br`), brotliCompressSync(body, { params: quality }));
    writeFileSync(join(folder, `${path}.gz`), gzipSync(body, { level: 9 }));
    encodings.push("br", "gzip");
  }
  return { path, size: body.length, type: TYPES[suffix] ?? "application/octet-stream", encodings };
}

/** The notices of everything that is part of the bundle. */
function licences(root: string): string {
  const own = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { dependencies: Record<string, string> };
  const names = [...Object.keys(own.dependencies), "@preact/signals-core"].sort();
  return names
    .map((name) => {
      const home = join(root, "node_modules", name);
      const about = JSON.parse(readFileSync(join(home, "package.json"), "utf8")) as { version: string; license: string };
      const file = readdirSync(home).find((entry) => /^licen[cs]e/i.test(entry));
      const text = file && existsSync(join(home, file)) ? readFileSync(join(home, file), "utf8").trim() : about.license;
      return `${name} ${about.version} (${about.license})\n\n${text}\n`;
    })
    .join("\n----\n\n");
}
