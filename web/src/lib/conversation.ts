// A captured request as a conversation, whatever the API it was written for.

export interface Part {
  kind: "text" | "image" | "call" | "result";
  text: string;
  name?: string;
}
export interface Turn {
  role: string;
  parts: Part[];
}
export interface Conversation {
  turns: Turn[];
  tools: { name: string; schema: string }[];
}

type Bag = Record<string, unknown>;
const bagOf = (value: unknown): Bag => (typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Bag) : {});
const items = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown): string => (typeof value === "string" ? value : value === undefined || value === null ? "" : JSON.stringify(value, null, 2));

/** null: the body is no conversation. */
export function conversationOf(body: unknown): Conversation | null {
  const raw = bagOf(body);
  const turns: Turn[] = [];
  if (raw["system"]) turns.push({ role: "system", parts: partsOf(raw["system"]) });
  if (typeof raw["instructions"] === "string") turns.push({ role: "system", parts: partsOf(raw["instructions"]) });
  const messages = items(raw["messages"]).length ? items(raw["messages"]) : items(raw["input"]);
  if (typeof raw["input"] === "string" && !("encoding_format" in raw)) turns.push({ role: "user", parts: partsOf(raw["input"]) });
  for (const item of messages) {
    const message = bagOf(item);
    if (message["type"] === "function_call") turns.push({ role: "assistant", parts: [{ kind: "call", name: text(message["name"]), text: pretty(text(message["arguments"])) }] });
    else if (message["type"] === "function_call_output") turns.push({ role: "tool", parts: [{ kind: "result", text: text(message["output"]) }] });
    else if (typeof message["role"] === "string") turns.push(turnOf(message));
  }
  if (typeof raw["prompt"] === "string" && !turns.length) turns.push({ role: "prompt", parts: partsOf(raw["prompt"]) });
  if (!turns.length) return null;
  const tools = items(raw["tools"]).map((tool) => {
    const own = bagOf(tool);
    const fn = own["function"] ? bagOf(own["function"]) : own;
    return { name: text(fn["name"]), schema: text(fn["parameters"] ?? fn["input_schema"] ?? {}) };
  });
  return { turns, tools };
}

function turnOf(message: Bag): Turn {
  const parts = partsOf(message["content"]);
  if (message["role"] === "tool") return { role: "tool", parts: parts.map((part) => ({ ...part, kind: "result" })) };
  for (const call of items(message["tool_calls"])) {
    const fn = bagOf(bagOf(call)["function"]);
    parts.push({ kind: "call", name: text(fn["name"]), text: pretty(text(fn["arguments"])) });
  }
  return { role: text(message["role"]), parts };
}

function partsOf(content: unknown): Part[] {
  if (typeof content === "string") return content ? [{ kind: "text", text: content }] : [];
  return items(content).map((item): Part => {
    const part = bagOf(item);
    const type = text(part["type"]);
    if (type === "image_url" || type === "input_image") {
      const address = part["image_url"];
      return { kind: "image", text: typeof address === "string" ? address : text(bagOf(address)["url"]) };
    }
    if (type === "image") {
      const source = bagOf(part["source"]);
      return { kind: "image", text: source["data"] ? `data:${text(source["media_type"])};base64,${text(source["data"])}` : text(source["url"]) };
    }
    if (type === "tool_use") return { kind: "call", name: text(part["name"]), text: text(part["input"]) };
    if (type === "tool_result") return { kind: "result", text: typeof part["content"] === "string" ? part["content"] : partsOf(part["content"]).map((inner) => inner.text).join("\n") };
    return { kind: "text", text: typeof part["text"] === "string" ? part["text"] : text(item) };
  });
}

export function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}
