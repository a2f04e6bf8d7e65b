import { describe, expect, test } from "vitest";
import { decodeActivity, decodeModel, decodeModelList, decodeModels, DecodeError } from "../src/wire/decode";
import { SseParser } from "../src/wire/sse";
import { wordsOf } from "../src/wire/api";

describe("SSE parser", () => {
  const text = 'retry: 2000\r\n\r\n: ping\n\nevent:message\ndata:{"a":"é漢"}\n\ndata: one\ndata: two\nid: 7\n\nevent: x\n\n';
  test("any cut of the bytes gives the same frames", () => {
    const bytes = new TextEncoder().encode(text);
    const whole = new SseParser().feed(bytes);
    expect(whole).toEqual([
      { event: "message", data: '{"a":"é漢"}', id: "" },
      { event: "message", data: "one\ntwo", id: "7" },
    ]);
    for (let cut = 1; cut < bytes.length; cut++) {
      const parser = new SseParser();
      expect([...parser.feed(bytes.slice(0, cut)), ...parser.feed(bytes.slice(cut))]).toEqual(whole);
    }
  });
  test("a last line without a blank one is not lost", () => {
    const parser = new SseParser();
    expect(parser.feed(new TextEncoder().encode("data: [DONE]"))).toEqual([]);
    expect(parser.end().map((frame) => frame.data)).toEqual(["[DONE]"]);
  });
});

describe("decoding at the edge", () => {
  test("unknown states and wrong types become neutral values", () => {
    const model = decodeModel({ id: "m", state: "dreaming", aliases: [1, "a"], capabilities: { vision: true, tools: "yes" }, context_length: "4k" });
    expect(model.state).toBe("unknown");
    expect(model.aliases).toEqual(["a"]);
    expect(model.capabilities).toEqual({ vision: true });
    expect(model.context_length).toBe(0);
  });
  test("what has no id is an error, not a model", () => {
    expect(() => decodeModel({ state: "ready" })).toThrow(DecodeError);
    expect(() => decodeModels({})).toThrow(DecodeError);
    expect(() => decodeActivity({ id: "x" })).toThrow(DecodeError);
  });
  test("alias records give their id to their model and go; order is natural", () => {
    const list = decodeModelList({
      data: [
        { id: "m10" },
        { id: "m2", meta: { llamaswap: { aliases: ["two"] } } },
        { id: "zwei", meta: { llamaswap: { type: "alias", modelID: "m2" } } },
      ],
    });
    expect(list.map((record) => record.id)).toEqual(["m2", "m10"]);
    expect(list[0]!.aliases).toEqual(["two", "zwei"]);
  });
  test("tokens that were not reported are -1", () => {
    expect(decodeActivity({ id: 1, tokens: { input_tokens: 3 } }).tokens).toMatchObject({ input_tokens: 3, cache_tokens: -1 });
  });
});

describe("the server's words", () => {
  test.each([
    ['{"src":"llama-swap","error":{"message":"no model"}}', "no model", true],
    ['{"error":"plain"}', "plain", false],
    ['{"message":"m"}', "m", false],
    ['{"detail":"d"}', "d", false],
    ["<html>busy</html>", "<html>busy</html>", false],
    ["", "", false],
  ])("%s", (body, message, fromProxy) => {
    expect(wordsOf(body)).toEqual({ message, fromProxy });
  });
});
