import { defineConfig } from "vite";
import { packageBuild } from "./build/package.ts";

const target = process.env["LLAMASWAP_URL"] ?? "http://127.0.0.1:8080";
const routes = ["/api", "/v1", "/logs", "/upstream", "/sdapi", "/comfyui"];

const CORE = new RegExp(
  [
    "node_modules/(preact|@preact)/",
    "src/(wire/(api|decode|sse)|worker/hub|state/(?!handover))",
    "src/lib/(format|throttle|logring|ansi|residency)",
    "src/ui/(basics|icons|model|shell|ticker|errors|feed|status|timeline)",
  ].join("|"),
);

export default defineConfig(({ command }) => ({
  // relative, so that the page works wherever a reverse proxy mounts it
  base: command === "build" ? "./" : "/ui/",
  build: {
    outDir: "../llamaswap/_web",
    emptyOutDir: true,
    target: "es2022",
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    rolldownOptions: {
      output: {
        entryFileNames: "assets/[name]-[hash].js",
        // what the first paint needs is one file: six connections are all a browser has
        codeSplitting: { groups: [{ name: "core", test: CORE }] },
      },
    },
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  plugins: [packageBuild()],
  server: {
    port: 5173,
    host: "localhost",
    proxy: Object.fromEntries(routes.map((route) => [route, { target, changeOrigin: false }])),
  },
}));
