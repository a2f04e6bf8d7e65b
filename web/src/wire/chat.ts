// A conversation as the body of a request, for each of the three APIs, and the stream that answers.
import { errorFrom, SESSION, url } from "./api";
import { Reply } from "./completion";
import { SseParser } from "./sse";

export type Endpoint = "completions" | "messages" | "responses";

export interface Message {
  role: "user" | "assistant";
  text: string;
  images: string[];
  /** Data URLs, WAV or MP3. */
  sounds?: string[];
}

export interface ChatSettings {
  endpoint: Endpoint;
  system: string;
  temperature: number;
  maxTokens: number;
  /** JSON members merged last into the body. */
  extra: Record<string, unknown>;
}

export const PATHS: Record<Endpoint, string> = { completions: "/v1/chat/completions", messages: "/v1/messages", responses: "/v1/responses" };

export function chatBody(model: string, messages: Message[], settings: ChatSettings): Record<string, unknown> {
  const { endpoint, system, temperature, maxTokens, extra } = settings;
  const sent = messages.filter((message) => message.text || message.images.length || message.sounds?.length);
  let body: Record<string, unknown>;
  if (endpoint === "completions") {
    const list: unknown[] = system ? [{ role: "system", content: system }] : [];
    for (const { role, text, images, sounds = [] } of sent) {
      const parts = [...(text ? [{ type: "text", text }] : []), ...images.map((address) => ({ type: "image_url", image_url: { url: address } })), ...sounds.map(soundPart)];
      list.push({ role, content: images.length + sounds.length ? parts : text });
    }
    body = { model, messages: list, stream: true, temperature };
    if (maxTokens > 0) body["max_tokens"] = maxTokens;
  } else if (endpoint === "messages") {
    if (sent.some((message) => message.sounds?.length)) throw new Error("The messages API takes no sound: choose another endpoint in the settings of the chat.");
    const list = sent.map(({ role, text, images }) => {
      const pictures = role === "user" ? images.map(base64Source) : [];
      return { role, content: pictures.length ? [...pictures, ...(text ? [{ type: "text", text }] : [])] : text };
    });
    body = { model, messages: list, stream: true, max_tokens: maxTokens > 0 ? maxTokens : 4096, ...(system ? { system } : {}), temperature };
  } else {
    const input = sent.map(({ role, text, images, sounds = [] }) => ({
      role,
      content: [
        ...(text ? [{ type: role === "assistant" ? "output_text" : "input_text", text }] : []),
        ...(role === "user" ? images.map((address) => ({ type: "input_image", image_url: address })) : []),
        ...(role === "user" ? sounds.map(soundPart) : []),
      ],
    }));
    body = { model, input, stream: true, ...(system ? { instructions: system } : {}), temperature };
    if (maxTokens > 0) body["max_output_tokens"] = maxTokens;
  }
  return { ...body, ...extra };
}

function base64Source(address: string): unknown {
  const found = /^data:([^;,]+);base64,(.*)$/s.exec(address);
  if (!found) throw new Error("The messages API takes pictures only as data; this one is an address.");
  return { type: "image", source: { type: "base64", media_type: found[1], data: found[2] } };
}

function soundPart(address: string): unknown {
  const found = /^data:([^;,]+)[^,]*;base64,(.*)$/s.exec(address);
  return { type: "input_audio", input_audio: { data: found?.[2] ?? "", format: /mpeg|mp3/.test(found?.[1] ?? "") ? "mp3" : "wav" } };
}

export interface Moments {
  started: number;
  headers?: number;
  reasoning?: number;
  content?: number;
  ended?: number;
}

/** Send and read to the end. `onChange` is told after each piece; the reply it is given grows. */
export async function streamChat(endpoint: Endpoint, body: unknown, signal: AbortSignal, onChange: (reply: Reply, moments: Moments) => void): Promise<{ reply: Reply; moments: Moments }> {
  const reply = new Reply();
  const moments: Moments = { started: performance.now() };
  const answer = await fetch(url(PATHS[endpoint]), {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream, application/json", "X-Session-ID": SESSION },
    body: JSON.stringify(body),
    signal,
  });
  moments.headers = performance.now();
  if (!answer.ok) throw await errorFrom(answer);
  if (!(answer.headers.get("Content-Type") ?? "").includes("event-stream")) {
    reply.take((await answer.json()) as Record<string, unknown>);
  } else {
    const parser = new SseParser();
    const reader = answer.body!.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      for (const frame of done ? parser.end() : parser.feed(value)) reply.frame(frame);
      const now = performance.now();
      if (reply.reasoning) moments.reasoning ??= now;
      if (reply.text || reply.tools.length) moments.content ??= now;
      onChange(reply, moments);
      if (done) break;
    }
  }
  moments.ended = performance.now();
  onChange(reply, moments);
  return { reply, moments };
}
