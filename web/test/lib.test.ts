import { describe, expect, test } from "vitest";
import { contrast, legible, PLAIN, runs, stripped, styleAfter } from "../src/lib/ansi";
import { splitBlocks } from "../src/lib/blocks";
import { afterKey, AUTOMATIC, chosen, NARROWEST, released, storedWidths, WIDEST, within } from "../src/lib/widths";
import { arranged, moved, toggled } from "../src/lib/columns";
import { csv, markdown, weightedSpeed } from "../src/lib/export";
import { isFiltered, readFilters, serverQuery, validId } from "../src/lib/filters";
import { bytes, capacity, contextLength, memory, relative, seconds, short, span, speed } from "../src/lib/format";
import { afterOverlap, LogRing } from "../src/lib/logring";
import { gpuFrame, netFrame, stacked, sysFrame, withGaps } from "../src/lib/series";
import { decodeActivity, decodeGpu, decodeSys } from "../src/wire/decode";

describe("terminal text", () => {
  const E = "\u001b";
  test("styles, resets and merges", () => {
    expect(runs(`${E}[31ma${E}[31mb${E}[mc`)).toEqual([{ text: "ab", style: { fg: "c1" } }, { text: "c", style: PLAIN }]);
    expect(runs(`${E}[1;38;5;196;48;2;1;2;3mx`)[0]!.style).toEqual({ bold: true, fg: "#ff0000", bg: "#010203" });
    expect(runs(`${E}[38;5;244mx`)[0]!.style.fg).toBe("#808080");
    expect(runs(`${E}[97;100mx${E}[39;49my`)).toEqual([{ text: "x", style: { fg: "c15", bg: "c8" } }, { text: "y", style: PLAIN }]);
  });
  test("what is no colour goes", () => {
    expect(stripped(`a${E}[2Kb${E}]0;title\u0007c${E}]8;;http://x${E}\\d\u0000`)).toBe("abcd");
  });
  test("the style at the end of a line is where the next begins", () => {
    expect(styleAfter(`${E}[34mblue`, PLAIN)).toEqual({ fg: "c4" });
    expect(runs("on", { fg: "c4" })[0]!.style).toEqual({ fg: "c4" });
  });
  test("any colour is moved until it can be read", () => {
    for (const ground of ["#eceff3", "#0b0d10"]) for (const colour of ["#000000", "#0a0a28", "#808080", "#ffff00", "#ffffff"]) expect(contrast(legible(colour, ground), ground)).toBeGreaterThanOrEqual(4.5);
  });
});

describe("log ring", () => {
  test("keeps whole lines, joins pieces, and is bounded", () => {
    const ring = new LogRing(3);
    ring.append("one\ntw");
    ring.append("o\nthree\nfour\nfi");
    expect(ring.lines.map((line) => line.text)).toEqual(["three", "four", "fi"]);
    expect(ring.first).toBe(2);
    ring.append("ve\n");
    expect(ring.lines.at(-1)!.text).toBe("five");
  });
  test("a progress bar is one line", () => {
    const ring = new LogRing();
    for (let i = 0; i < 50; i++) ring.append(`\r${i} %`);
    ring.append("\nnext\r\n");
    expect(ring.lines.map((line) => line.text)).toEqual(["49 %", "next"]);
  });
  test("a history read again adds only what is new; without anything in common there is a gap", () => {
    const lines = Array.from({ length: 30 }, (_, i) => `line ${i}\n`).join("");
    const ring = new LogRing();
    ring.append(lines);
    ring.join(`${lines}line 30\n`, "reconnected");
    expect(ring.lines.filter((line) => !line.rule).map((line) => line.text).slice(-2)).toEqual(["line 29", "line 30"]);
    expect(ring.lines.filter((line) => line.text === "line 29").length).toBe(1);
    ring.join("something else entirely, from another life\n", "reconnected");
    expect(ring.lines.some((line) => line.rule && line.text.includes("gap"))).toBe(true);
    expect(afterOverlap("abcdefghijklmnopqrst", "no common part here")).toBeNull();
  });
});

describe("blocks of a growing text", () => {
  test("blank lines end blocks, but not inside a fence", () => {
    const { done, tail, closing } = splitBlocks("one\n\n```py\na\n\nb");
    expect(done).toEqual(["one\n\n"]);
    expect(tail).toBe("```py\na\n\nb");
    expect(closing).toBe("\n```");
  });
  test("tildes do not close backticks, and shorter fences do not close longer ones", () => {
    expect(splitBlocks("````\n~~~\n```\nx\n````\n\nafter").done).toEqual(["````\n~~~\n```\nx\n````\n"]);
  });
  test("open mathematics is closed virtually", () => {
    expect(splitBlocks("$$\nx^2\n")).toEqual({ done: [], tail: "$$\nx^2\n", closing: "$$" });
    expect(splitBlocks("$$\nx^2\n$$\n\nnext").done.length).toBe(1);
  });
  test("whatever the cut, finished blocks only grow", () => {
    const text = "# a\n\npara\n\n```js\nlet a;\n\nlet b;\n```\n\n- x\n- y\n\n$$\nE\n$$\n\nend";
    let before: string[] = [];
    for (let cut = 0; cut <= text.length; cut++) {
      const { done, tail } = splitBlocks(text.slice(0, cut));
      expect(done.slice(0, before.length)).toEqual(before);
      expect(done.join("") + tail).toBe(text.slice(0, cut));
      before = done;
    }
  });
});

describe("formats", () => {
  test("durations, speeds, sizes", () => {
    expect([seconds(2500), short(850), short(1234), speed(123.456), speed(-1)]).toEqual(["2.50s", "850ms", "1.2s", "123.46 t/s", "–"]);
    expect([bytes(1023), bytes(2048), bytes(20_480), bytes(5 * 1024 ** 3)]).toEqual(["1023 B", "2.00 KB", "20.0 KB", "5.00 GB"]);
    expect([memory(0), memory(27.4), memory(1500), memory(24_576)]).toEqual(["0 MiB", "27 MiB", "1.5 GiB", "24.0 GiB"]);
    expect([capacity(0), capacity(null), capacity(24 * 1024 ** 3), capacity(2.5 * 1024 ** 2), capacity(512)]).toEqual(["Not detected", "Not detected", "24.0 GiB", "2.50 MiB", "512 B"]);
    expect([contextLength(131_072), contextLength(1_500_000), contextLength(1_000_000), contextLength(512), contextLength(0)]).toEqual(["131K", "1.5M", "1M", "512", ""]);
    expect([span(5), span(65), span(3700)]).toEqual(["5 s", "1 m 05 s", "1 h 01 m"]);
  });
  test("relative times", () => {
    const now = Date.parse("2026-01-01T12:00:00Z");
    const ago = (s: number) => relative(new Date(now - s * 1000).toISOString(), now);
    expect([ago(-10), ago(3), ago(30), ago(300), ago(3 * 3600)]).toEqual(["now", "now", "30s ago", "5m ago", "3h ago"]);
    expect(ago(25 * 3600)).toMatch(/^2025-12-\d\d \d\d:\d\d:\d\d$/);
  });
});

describe("columns", () => {
  const all = ["a", "b", "c"];
  test("unknown ones are dropped, new ones appended", () => {
    expect(arranged(all, { hidden: ["gone", "b"], order: ["gone", "c"] })).toEqual([{ id: "c", visible: true }, { id: "a", visible: true }, { id: "b", visible: false }]);
  });
  test("moving and toggling", () => {
    expect(moved(all, { hidden: [], order: [] }, "c", 0).order).toEqual(["c", "a", "b"]);
    expect(toggled({ hidden: ["a"], order: [] }, "a").hidden).toEqual([]);
  });
});

describe("column widths", () => {
  const measured = { id: 60.5, model: 120, error: 300 };
  test("the first one chosen fixes all that are there", () => {
    const widths = chosen(AUTOMATIC, measured, "model", 199.6);
    expect(widths).toEqual({ px: { id: 60.5, model: 200, error: 300 }, chosen: ["model"] });
    expect(chosen(widths, { ...measured, model: 200 }, "id", 70).chosen).toEqual(["model", "id"]);
  });
  test("a column that is hidden meanwhile keeps its width", () => {
    expect(chosen({ px: { meta: 90, id: 40 }, chosen: ["meta"] }, measured, "id", 80).px).toMatchObject({ meta: 90, id: 80 });
  });
  test("none is narrower or wider than can be used", () => {
    expect([within(-20), within(NARROWEST), within(99_999)]).toEqual([NARROWEST, NARROWEST, WIDEST]);
    expect(chosen(AUTOMATIC, measured, "id", 3).px["id"]).toBe(NARROWEST);
  });
  test("one let go leaves the others; the last one the whole table", () => {
    const two = chosen(chosen(AUTOMATIC, measured, "id", 80), {}, "model", 90);
    expect(released(two, "model")).toEqual({ px: { id: 80, error: 300 }, chosen: ["id"] });
    expect(released(released(two, "model"), "id")).toEqual(AUTOMATIC);
    expect(released(AUTOMATIC, "id")).toEqual(AUTOMATIC);
  });
  test("arrows move the edge, more with Shift, and stop at the ends", () => {
    expect([afterKey("ArrowRight", 100, false), afterKey("ArrowLeft", 100, true), afterKey("ArrowLeft", 42, false), afterKey("ArrowUp", 100, false)]).toEqual([110, 50, NARROWEST, null]);
  });
  test("what was stored is believed as far as it makes sense", () => {
    expect(storedWidths({ activity: { px: { id: 50, model: "wide", error: -3, meta: 1e9 }, chosen: ["id", "gone"] }, broken: null, none: { px: { id: 50 }, chosen: [] }, odd: { px: 3, chosen: "id" } })).toEqual({ activity: { px: { id: 50 }, chosen: ["id"] } });
    expect(storedWidths("nonsense")).toEqual({});
  });
});

describe("filters", () => {
  test("what is wrong is not sent", () => {
    const filters = readFilters(new URLSearchParams("min_id=abc&max_id=9&model=a&model=b&status=server&sort=evil&order=up&page=-3"));
    expect(serverQuery(filters, 25, null, 0).toString()).toBe("page=1&limit=25&sort=id&order=desc&model=a&model=b&max_id=9&status=5xx");
    expect([validId("0"), validId("1"), validId(""), validId("1.5")]).toEqual([false, true, true, false]);
    expect(isFiltered(readFilters(new URLSearchParams("page=2")))).toBe(false);
  });
  test("a range is a start", () => {
    expect(serverQuery(readFilters(new URLSearchParams("range=1h")), 10, "m", Date.parse("2026-01-01T01:00:00Z")).get("start")).toBe("2026-01-01T00:00:00.000Z");
  });
});

describe("export", () => {
  const rows = [decodeActivity({ id: 1, timestamp: "2026-01-01T00:00:00Z", model: "=cmd|x", tokens: { input_tokens: 100, prompt_per_second: 100 } }), decodeActivity({ id: 2, timestamp: "2026-01-01T00:00:01Z", model: 'a "b"', tokens: { input_tokens: 300, prompt_per_second: 600 } })];
  const columns = [{ id: "model", title: "Model", numeric: false, text: (row: (typeof rows)[number]) => row.model }];
  test("speeds are weighted by tokens", () => {
    expect(weightedSpeed(rows, (row) => row.tokens.input_tokens, (row) => row.tokens.prompt_per_second)).toBeCloseTo(266.67, 1);
    expect(weightedSpeed([], () => 1, () => 1)).toBeNull();
  });
  test("cells are escaped; no rows are a header", () => {
    expect(markdown(rows, columns)).toContain("| =cmd\\|x |");
    expect(markdown([], columns, 0).split("\n")[0]).toBe("| Model |");
    expect(csv(rows, columns).split("\r\n")).toEqual(["Model", "'=cmd|x", '"a ""b"""']);
  });
});

describe("series", () => {
  test("parts of a whole stand on each other, and leave gaps where nothing is known", () => {
    const line = (label: string, values: (number | null)[]) => ({ label, values });
    expect(stacked({ times: [1, 2, 3], lines: [line("a", [1, null, null]), line("b", [2, 3, null])] })).toEqual([[1, 0, null], [3, 3, null]]);
  });
  const at = (second: number) => new Date(1_700_000_000_000 + second * 1000).toISOString();
  test("a hole gets an empty sample, an even row does not", () => {
    const even = withGaps({ times: [0, 5, 10], lines: [{ label: "x", values: [1, 2, 3] }] });
    expect(even.times).toEqual([0, 5, 10]);
    const hole = withGaps({ times: [0, 5, 10, 200], lines: [{ label: "x", values: [1, 2, 3, 4] }] });
    expect(hole.lines[0]!.values).toEqual([1, 2, 3, null, 4]);
  });
  test("cards of one name are two lines, and what is not known is a gap", () => {
    const frame = gpuFrame([0, 5].flatMap((s) => [decodeGpu({ timestamp: at(s), id: 0, name: "A", gpu_util_pct: s ? null : 7 }), decodeGpu({ timestamp: at(s), id: 1, name: "A", gpu_util_pct: 9 })]), (sample) => sample.gpu_util_pct);
    expect(frame.lines.map((line) => [line.label, line.values])).toEqual([["0 · A", [7, null]], ["1 · A", [9, 9]]]);
  });
  test("a counter that went back is a gap", () => {
    const frame = netFrame([0, 5, 10].map((s, i) => decodeSys({ timestamp: at(s), net_io: [{ name: "e", bytes_recv: [0, 625_000, 10][i], bytes_sent: 0 }] })));
    expect(frame.lines[0]!.values).toEqual([null, 1, null]);
    expect(sysFrame([], []).times).toEqual([]);
  });
});
