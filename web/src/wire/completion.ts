// What a model answered, from any of the shapes servers use: OpenAI chat and completions, Anthropic
// messages, Responses; streamed or whole. Feed it frames or one JSON body.
import type { SseFrame } from "./sse";
import { wordsOf } from "./api";

export interface ToolCall {
  id: string;
  name: string;
  args: string;
}

export interface ReplyFigures {
  prompt?: number;
  generated?: number;
  promptPerSecond?: number;
  perSecond?: number;
}

type Bag = Record<string, unknown>;
const bagOf = (value: unknown): Bag => (typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Bag) : {});
const items = (value: unknown): Bag[] => (Array.isArray(value) ? value.map(bagOf) : []);
const textOf = (value: unknown): string => (typeof value === "string" ? value : "");
const numberOf = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);

const RULE = "━━━━━";

export class Reply {
  text = "";
  reasoning = "";
  /** What the proxy said while the model loaded; it travels as reasoning. */
  loading = "";
  error = "";
  model = "";
  /** The stream said that it is complete. */
  ended = false;
  frames = 0;
  figures: ReplyFigures = {};
  tools: ToolCall[] = [];
  private rules = 0;
  private held = "";

  frame(frame: SseFrame): void {
    if (frame.data === "[DONE]") {
      this.ended = true;
      return;
    }
    let value: unknown;
    try {
      value = JSON.parse(frame.data);
    } catch {
      return; // a malformed frame costs itself
    }
    this.frames += 1;
    this.take(bagOf(value), frame.event);
  }

  /** One JSON object: an event of a stream, or a whole answer. */
  take(value: Bag, event = "message"): void {
    const type = textOf(value["type"]) || event;
    if (value["error"] || type === "error" || event === "error") {
      this.error = wordsOf(JSON.stringify(value["error"] ? value : { error: value })).message;
      return;
    }
    this.model ||= textOf(value["model"]);
    this.measure(value);
    if (Array.isArray(value["choices"])) for (const choice of items(value["choices"]).slice(0, 1)) this.choice(choice);
    else if (type.startsWith("response.")) this.responses(type, value);
    else if (value["object"] === "response") this.output(value);
    else this.anthropic(type, value);
  }

  private choice(choice: Bag): void {
    const part = bagOf(choice["delta"] ?? choice["message"]);
    this.text += contentText(part["content"]) + (choice["delta"] || choice["message"] ? "" : textOf(choice["text"]));
    this.reason(textOf(part["reasoning_content"]) || textOf(part["reasoning"]));
    for (const call of items(part["tool_calls"])) {
      const fn = bagOf(call["function"]);
      this.tool(numberOf(call["index"]) ?? this.tools.length, textOf(call["id"]), textOf(fn["name"]), textOf(fn["arguments"]));
    }
    const old = bagOf(part["function_call"]);
    if (old["name"] || old["arguments"]) this.tool(0, "", textOf(old["name"]), textOf(old["arguments"]));
    if (choice["message"]) this.ended = true;
  }

  private anthropic(type: string, value: Bag): void {
    const delta = bagOf(value["delta"]);
    switch (type) {
      case "message_start":
        this.model ||= textOf(bagOf(value["message"])["model"]);
        this.measure(bagOf(value["message"]));
        return;
      case "content_block_start": {
        const block = bagOf(value["content_block"]);
        if (block["type"] === "tool_use") this.tool(numberOf(value["index"]) ?? 0, textOf(block["id"]), textOf(block["name"]), "");
        return;
      }
      case "content_block_delta":
        this.text += textOf(delta["text"]);
        this.reason(textOf(delta["thinking"]));
        if (delta["type"] === "input_json_delta") this.tool(numberOf(value["index"]) ?? 0, "", "", textOf(delta["partial_json"]));
        return;
      case "message_stop":
        this.ended = true;
        return;
      case "message":
        items(value["content"]).forEach((block, i) => {
          this.text += textOf(block["text"]);
          this.reason(textOf(block["thinking"]));
          if (block["type"] === "tool_use") this.tool(i, textOf(block["id"]), textOf(block["name"]), JSON.stringify(block["input"] ?? {}));
        });
        this.ended = true;
    }
  }

  private responses(type: string, value: Bag): void {
    const delta = textOf(value["delta"]);
    const slot = numberOf(value["output_index"]) ?? 0;
    if (type === "response.output_text.delta") this.text += delta;
    else if (type === "response.reasoning_summary_text.delta" || type === "response.reasoning_text.delta") this.reason(delta);
    else if (type === "response.function_call_arguments.delta") this.tool(slot, "", "", delta);
    else if (type === "response.output_item.added") {
      const item = bagOf(value["item"]);
      if (item["type"] === "function_call") this.tool(slot, textOf(item["call_id"]), textOf(item["name"]), "");
    } else if (type === "response.completed") {
      this.measure(bagOf(value["response"]));
      this.ended = true;
    } else if (type === "response.failed") this.error = wordsOf(JSON.stringify(bagOf(value["response"]))).message || "the server failed";
  }

  private output(value: Bag): void {
    items(value["output"]).forEach((item, i) => {
      for (const part of items(item["content"])) this.text += textOf(part["text"]);
      for (const part of items(item["summary"])) this.reason(textOf(part["text"]));
      if (item["type"] === "function_call") this.tool(i, textOf(item["call_id"]), textOf(item["name"]), textOf(item["arguments"]));
    });
    this.ended = true;
  }

  private tool(index: number, id: string, name: string, args: string): void {
    const slot = this.slots.get(index);
    if (slot) {
      slot.id ||= id;
      slot.name ||= name;
      slot.args += args;
    } else {
      const call = { id, name, args };
      this.slots.set(index, call);
      this.tools.push(call);
    }
  }
  private readonly slots = new Map<number, ToolCall>();

  /** Text between two rules is the proxy's loading notice, not thought. */
  private reason(piece: string): void {
    if (!piece) return;
    this.held += piece;
    for (;;) {
      const at = this.held.indexOf(RULE);
      if (at < 0) break;
      this.spread(this.held.slice(0, at));
      this.held = this.held.slice(at + RULE.length);
      this.rules += 1;
    }
    const tail = /━+$/.exec(this.held)?.[0].length ?? 0;
    const sure = this.held.length - (tail < RULE.length ? tail : 0);
    this.spread(this.held.slice(0, sure));
    this.held = this.held.slice(sure);
  }

  private spread(text: string): void {
    if (this.rules % 2 === 1) this.loading += text;
    else if (this.rules === 0 || this.reasoning || text.trim()) this.reasoning += this.reasoning ? text : text.trimStart();
  }

  private measure(value: Bag): void {
    const usage = bagOf(value["usage"]);
    const timings = bagOf(value["timings"]);
    const pick = (...found: (number | undefined)[]) => found.find((item) => item !== undefined);
    const prompt = pick(numberOf(timings["prompt_n"]), numberOf(usage["prompt_tokens"]), numberOf(usage["input_tokens"]));
    const generated = pick(numberOf(timings["predicted_n"]), numberOf(usage["completion_tokens"]), numberOf(usage["output_tokens"]));
    const promptRate = numberOf(timings["prompt_per_second"]);
    const rate = numberOf(timings["predicted_per_second"]);
    if (prompt) this.figures.prompt = prompt;
    if (generated) this.figures.generated = generated;
    if (promptRate) this.figures.promptPerSecond = promptRate;
    if (rate) this.figures.perSecond = rate;
  }
}

function contentText(value: unknown): string {
  if (typeof value === "string") return value;
  return items(value).map((part) => textOf(part["text"])).join("");
}

/** Whether the server's own end is missing: the text may have been cut. */
export const interrupted = (reply: Reply): boolean => !reply.ended && !reply.error && reply.frames > 0;
