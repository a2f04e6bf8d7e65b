// `npm run fake`: the UI with hot reload before a server that only pretends, and a gallery of every page
// in every state at /ui/_gallery.
import { join } from "node:path";
import { createServer } from "vite";

const root = join(import.meta.dirname, "..");
const tools = await createServer({ configFile: false, root, server: { middlewareMode: true, ws: false }, appType: "custom", optimizeDeps: { noDiscovery: true } });
const { startFake, STATES } = await tools.ssrLoadModule("/e2e/fake.ts");
process.env.LLAMASWAP_URL = (await startFake()).url;

const PAGES = ["", "models", "models/qwen3-30b", "activity", "captures/1", "logs", "performance", "timeline", "playground/chat", "playground/images", "playground/load", "hardware", "settings", "nowhere"];
const gallery = `<!doctype html><title>Gallery</title><base href="/ui/"><style>body{font:14px system-ui;margin:16px}main{display:grid;grid-template-columns:repeat(auto-fill,minmax(560px,1fr));gap:16px}iframe{width:1120px;height:800px;transform:scale(.5);transform-origin:0 0;border:1px solid #888}figure{margin:0;height:430px;overflow:hidden}button{font:inherit;margin-right:8px}</style>
<p>${STATES.map((state) => `<button onclick="show('${state}')">${state}</button>`).join("")}</p><main>${PAGES.map((page) => `<figure><figcaption><a href="/ui/${page}">/ui/${page}</a></figcaption><iframe src="/ui/${page}"></iframe></figure>`).join("")}</main>
<script>async function show(state){await fetch("/api/fake/"+state,{method:"POST"});for(const frame of document.querySelectorAll("iframe"))frame.contentWindow.location.reload()}</script>`;

const pages = {
  name: "gallery",
  configureServer: (server) =>
    void server.middlewares.use((request, response, next) => {
      if (!request.url?.startsWith("/ui/_gallery")) return next();
      response.setHeader("Content-Type", "text/html; charset=utf-8");
      response.end(gallery);
    }),
};
const ui = await createServer({ root, plugins: [pages] });
await ui.listen();
ui.printUrls();
process.stdout.write(`  Every page in every state: ${ui.resolvedUrls.local[0]}_gallery\n`);
