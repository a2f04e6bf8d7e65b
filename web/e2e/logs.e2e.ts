import { describe, expect } from "vitest";
import { SATURATED, anHour, busyShare, goRound, heapOf, steadily, withoutWorker } from "./gauges";
import { check, model, pause, quiet, script, settled, slow } from "./harness";

const proxyLines = 'section[aria-label="Proxy"] .lines';

describe("logs and performance", () => {
  check("UI-55", "200 log messages a second cost little, and nothing on other pages", async ({ page, stage, go, open, context }) => {
    script(stage, [model("m", "ready")]);
    await go("/ui/logs");
    const other = await open("/ui/models");
    await settled(() => stage.tells("logs"));
    const stop = steadily(stage, 200);
    const newest = async () => Number(/number (\d+)/.exec((await page.locator(`${proxyLines} p`).last().innerText()) ?? "")?.[1] ?? 0);
    try {
      await pause(600);
      const [busy, busyElsewhere] = await Promise.all([page, other].map((tab) => busyShare(tab, context, () => pause(30_000))));
      // the budgets of 25 % and 5 % are measured by make ui-measure
      if (slow === 1) {
        expect(busy).toBeLessThan(SATURATED);
        expect(busyElsewhere).toBeLessThan(SATURATED / 4);
      }
      // only what is visible exists, and it is the end
      expect(await page.locator(`${proxyLines} p`).count()).toBeLessThan(120);
      await settled(async () => (await newest()) > 4_000);
      const before = await newest();
      await settled(async () => (await newest()) > before);
      expect(await page.getByRole("button", { name: /Jump to latest/ }).count()).toBe(0);
    } finally {
      stop();
    }
    await other.close();
  }, { axe: false, timeout: 150_000 });

  check("UI-55", "an hour of a busy server leaves a small heap, and the log at its end", async ({ page, stage, go, context }) => {
    script(stage, [model("m", "ready")]);
    await withoutWorker(page);
    await go("/ui/logs");
    await settled(() => stage.tells("logs"));
    const sent = await anHour(page, stage, Date.now() - 3_600_000);
    expect(sent).toBeGreaterThan(170_000);
    expect(await page.getByRole("button", { name: /Jump to latest/ }).count()).toBe(0);
    await goRound(page);
    expect(await heapOf(await context.newCDPSession(page))).toBeLessThan(30); // MB; the budget is 60
  }, { timeout: 240_000 });

  check("UI-56", "a view that was scrolled up stays put, counts, and can jump to the end", async ({ page, stage, go }) => {
    script(stage, [model("m")]);
    stage.opening.unshift(["logData", { source: "proxy", data: Array.from({ length: 400 }, (_, i) => `old line ${i}\n`).join("") }]);
    await go("/ui/logs");
    await page.getByText("old line 399").waitFor();
    await page.locator(proxyLines).evaluate((element) => (element.scrollTop = 500));
    await page.getByText("old line 30", { exact: true }).waitFor();
    const before = await page.locator(proxyLines).evaluate((element) => element.scrollTop);
    for (let i = 0; i < 7; i++) stage.send("logData", { source: "proxy", data: `new line ${i}\n` });
    await page.getByRole("button", { name: "Jump to latest (7 new)" }).waitFor();
    expect(await page.locator(proxyLines).evaluate((element) => element.scrollTop)).toBe(before);
    await page.getByRole("button", { name: /Jump to latest/ }).click();
    await page.getByText("new line 6").waitFor();
    stage.send("logData", { source: "proxy", data: "the newest\n" });
    await page.getByText("the newest").waitFor();
  });

  const ESC = "\u001b";
  const COLOURED = `${ESC}[31mred${ESC}[0m ${ESC}[1;92mbold green${ESC}[0m ${ESC}[38;5;226myellow 256${ESC}[0m ${ESC}[38;2;10;10;40mdark rgb${ESC}[0m ${ESC}[43mground${ESC}[0m ${ESC}[3;4mleaning${ESC}[0m ${ESC}[2Kcleared ${ESC}]8;;https://example.com${ESC}\\link${ESC}]8;;${ESC}\\ <b>&amp;</b>\n`;
  for (const dark of [false, true]) {
    const run = async ({ page, stage, go }: import("./harness").Scene) => {
      script(stage, [model("m")]);
      stage.opening.unshift(["logData", { source: "proxy", data: COLOURED }]);
      await go("/ui/logs?source=proxy");
      const line = page.locator(`${proxyLines} p`).first();
      await page.getByText("leaning").waitFor();
      expect(await line.innerText()).toBe("red bold green yellow 256 dark rgb ground leaning cleared link <b>&amp;</b>");
      expect(await line.locator("b").count()).toBe(0);
      stage.send("logData", { source: "proxy", data: `${ESC}[34mblue begins\n` });
      stage.send("logData", { source: "proxy", data: `blue goes on${ESC}[0m\n` });
      await page.getByText("blue goes on").waitFor();
      const colours = await page.locator(`${proxyLines} p span`, { hasText: "blue" }).evaluateAll((spans) => spans.map((span) => getComputedStyle(span).color));
      expect(new Set(colours).size).toBe(1);
      const low = await page.locator(`${proxyLines} p span`).evaluateAll((spans) => {
        const rgb = (text: string) => {
          const canvas = document.createElement("canvas").getContext("2d")!;
          canvas.fillStyle = text;
          canvas.fillRect(0, 0, 1, 1);
          return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
        };
        const light = (c: number[]) => c.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i]!, 0);
        const ground = getComputedStyle(spans[0]!.closest(".lines")!).backgroundColor;
        return spans.filter((span) => span.textContent!.trim()).map((span) => {
          const own = getComputedStyle(span);
          const back = own.backgroundColor === "rgba(0, 0, 0, 0)" ? ground : own.backgroundColor;
          const [a, b] = [light(rgb(own.color)), light(rgb(back))].sort((x, y) => y - x) as [number, number];
          return { text: span.textContent, ratio: (a + 0.05) / (b + 0.05) };
        }).filter((item) => item.ratio < 4.5);
      });
      expect(low).toEqual([]);
      for (let i = 0; i <= 100; i += 10) stage.send("logData", { source: "proxy", data: `\rloading ${i} %` });
      stage.send("logData", { source: "proxy", data: "\n" });
      await settled(async () => (await page.locator(`${proxyLines} p`, { hasText: "loading" }).allInnerTexts()).join() === "loading 100 %");
    };
    if (dark) check("UI-57", "terminal colours can be read, dark", run, { dark: true });
    else check("UI-57", "terminal colours can be read, light", run);
  }

  check("UI-58", "the filter counts, marks, and leaves everything when it is no expression", async ({ page, stage, go }) => {
    script(stage, [model("m")]);
    stage.opening.unshift(["logData", { source: "proxy", data: "apple pie\nbanana\nAPPLE juice\n" }]);
    await go("/ui/logs?source=proxy");
    const filter = page.getByRole("searchbox", { name: "Filter Proxy" });
    await filter.fill("apple");
    await page.getByText("2 of 3 lines").waitFor();
    expect(await page.locator("mark").allInnerTexts()).toEqual(["apple", "APPLE"]);
    await filter.fill("/^ban/");
    await page.getByText("1 of 3 lines").waitFor();
    await filter.fill("/(/");
    await page.getByText("not a regular expression").waitFor();
    expect(await filter.getAttribute("aria-invalid")).toBe("true");
    expect(await page.locator(`${proxyLines} p`).count()).toBe(3);
  });

  check("UI-59", "a model's log is read only while it is looked at, and joined without repeats", async ({ page, stage, go }) => {
    script(stage, [model("m", "ready")]);
    const open = new Set<import("node:http").ServerResponse>();
    const history = Array.from({ length: 60 }, (_, i) => `history line ${i}`).join("\n") + "\n";
    let more = "";
    stage.on("GET", /^\/logs\/stream\/m/, (_, response) => {
      open.add(response);
      response.on("close", () => open.delete(response));
      response.writeHead(200, { "Content-Type": "text/plain" });
      response.write(history + more);
    });
    await go("/ui/models/m");
    await page.getByRole("heading", { name: "m", level: 1 }).waitFor();
    await quiet(page);
    expect(stage.requests("GET", /^\/logs\/stream/).length).toBe(0);
    await page.getByRole("navigation", { name: "Views of the model" }).getByRole("link", { name: "Logs" }).click();
    await page.getByText("history line 59").waitFor();
    expect(open.size).toBe(1);
    more = "after the gap\n";
    for (const response of open) response.destroy();
    await page.getByText("after the gap").waitFor();
    expect(await page.getByText("history line 59").count()).toBe(1);
    await page.getByRole("navigation", { name: "Views of the model" }).getByRole("link", { name: "Activity" }).click();
    await settled(() => open.size === 0);
  }, { init: ({ allow }) => allow(/ERR_/) });

  const at = (secondsAgo: number) => new Date(Date.now() - secondsAgo * 1000).toISOString();
  const sys = (age: number, more = {}) => ({ timestamp: at(age), cpu_util_per_core: [10, 20], mem_total_mb: 1000, mem_used_mb: 400, mem_free_mb: 600, swap_total_mb: 0, swap_used_mb: 0, load_avg_1: 1, load_avg_5: 1, load_avg_15: 1, net_io: [{ name: "eth0", bytes_recv: 1_000_000 - age * 10, bytes_sent: 5 }], ...more });
  const gpu = (age: number, id: number, more = {}) => ({ timestamp: at(age), id, name: "RTX 3090", uuid: `u${id}`, temp_c: 50, vram_temp_c: 0, gpu_util_pct: 40 + id, mem_util_pct: 50, mem_used_mb: 8192, mem_total_mb: 24576, fan_speed_pct: 30, power_draw_w: 200, ...more });
  check("UI-60", "twins are told apart, holes stay holes, and old data says so", async ({ page, stage, go }) => {
    script(stage, [model("m")]);
    await page.clock.setFixedTime(Date.now()); // else what is drawn moves on
    const ages = Array.from({ length: 140 }, (_, i) => 790 - i * 5).filter((age) => age > 100 && (age < 400 || age > 580));
    const reset = ages.indexOf(300);
    const stats = ages.map((age, i) => sys(age, { net_io: [{ name: "eth0", bytes_recv: i < reset ? 9_000_000_000 - age * 1_000_000 : 700_000_000 - age * 1_000_000, bytes_sent: 5 }] }));
    stage.on("GET", /^\/api\/performance/, { json: { enabled: true, sys_stats: stats, gpu_stats: ages.flatMap((age) => [gpu(age, 0, age === 250 ? { gpu_util_pct: null } : {}), gpu(age, 1)]) } });
    await page.addInitScript(() => localStorage.setItem("llamaswap.ui", JSON.stringify({ v: 1, prefs: { perfRange: "15m" } })));
    await go("/ui/performance");
    const chart = page.getByRole("figure", { name: "GPU utilisation" });
    await chart.getByText("0 · RTX 3090").waitFor();
    await chart.getByText("1 · RTX 3090").waitFor();
    expect(await chart.innerText()).toMatch(/40\s*\(40–40\)/); // the sample that is not known is no zero
    expect(await page.getByRole("figure", { name: "Network" }).innerText()).not.toMatch(/-\d/);
    await page.getByText(/last sample \d+ m/).waitFor();
    // what is drawn: pixels of the plot that have colour, by the age they stand for
    const drawn = async (name: string, age: number, line: number) => page.getByRole("figure", { name }).locator("canvas").evaluate((canvas, { age, line }) => {
      const root = document.querySelector(`[aria-label="${canvas.closest("figure")!.getAttribute("aria-label")}"] .u-over`)!.getBoundingClientRect();
      const own = canvas.getBoundingClientRect();
      const scale = (canvas as HTMLCanvasElement).width / own.width;
      const x = Math.round((root.left - own.left + root.width * (1 - age / 900)) * scale);
      const probe = document.createElement("canvas").getContext("2d")!;
      probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--series-${line}`);
      probe.fillRect(0, 0, 1, 1);
      const wanted = probe.getImageData(0, 0, 1, 1).data;
      const column = (canvas as HTMLCanvasElement).getContext("2d")!.getImageData(x, 0, 1, (canvas as HTMLCanvasElement).height).data;
      for (let i = 0; i < column.length; i += 4) if (Math.abs(column[i]! - wanted[0]!) + Math.abs(column[i + 1]! - wanted[1]!) + Math.abs(column[i + 2]! - wanted[2]!) < 60 && column[i + 3]! > 120) return true;
      return false;
    }, { age, line });
    await settled(() => drawn("GPU utilisation", 700, 0));
    for (const age of [700, 350, 200]) expect(await drawn("GPU utilisation", age, 0), `line at ${age} s`).toBe(true);
    expect(await drawn("GPU utilisation", 490, 0), "in the hole of three minutes").toBe(false);
    expect(await drawn("GPU utilisation", 490, 1), "in the hole of three minutes").toBe(false);
    expect(await drawn("GPU utilisation", 250, 0), "where a sample is not known").toBe(false);
    expect(await drawn("GPU utilisation", 250, 1), "of the twin").toBe(true);
    expect(await drawn("Network", 350, 0)).toBe(true);
    expect(await drawn("Network", 302, 0), "where the counter began anew").toBe(false);
    expect(await drawn("GPU utilisation", 60, 0), "after the last sample").toBe(false);
  });

  check("UI-61", "a switched off monitor says how to switch it on, and draws no empty frames", async ({ page, stage, go, allow }) => {
    allow(/503/);
    script(stage, [model("m")]);
    stage.on("GET", /^\/api\/performance/, { status: 503, json: { enabled: false } });
    await go("/ui/performance");
    await page.getByText("performance.disabled: false").waitFor();
    expect(await page.getByRole("figure", { name: "CPU" }).count()).toBe(0);
  });

  check("UI-62", "one crosshair for all charts, by mouse and by keys", async ({ page, stage, go }) => {
    script(stage, [model("m")]);
    stage.on("GET", /^\/api\/performance/, { json: { enabled: true, sys_stats: Array.from({ length: 50 }, (_, i) => sys(250 - i * 5)), gpu_stats: [] } });
    await go("/ui/performance");
    const cpu = page.getByRole("figure", { name: "CPU" });
    await cpu.locator("canvas").waitFor();
    const box = (await cpu.locator(".plot").boundingBox())!;
    const shown = (name: string) => page.getByRole("figure", { name }).locator("[data-cursor]").innerText();
    let step = 0;
    await settled(async () => {
      await page.mouse.move(box.x + box.width / 2 + (step++ % 2), box.y + box.height / 2); // a hand never rests
      return /\d\d:\d\d:\d\d/.test(await shown("CPU")) && (await shown("CPU")) === (await shown("Memory"));
    });
    const before = await shown("CPU");
    await page.mouse.move(5, 5);
    await cpu.locator(".plot").focus();
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("ArrowLeft");
    await settled(async () => (await shown("CPU")) !== "" && (await shown("CPU")) !== before && (await shown("CPU")) === (await shown("Memory")));
  });
});
