// Captured bodies: base64 to bytes to what a person can read.

export interface Body {
  bytes: number;
  text: string | null;
  /** For what is no text: the type the headers claim. */
  type: string;
  base64: string;
}

export function decodeBody(base64: string | null, contentType: string): Body | null {
  if (!base64) return null;
  const type = contentType.split(";")[0]!.trim().toLowerCase();
  let raw: string;
  try {
    raw = atob(base64);
  } catch {
    return { bytes: base64.length, text: base64, type, base64: "" }; // no base64 after all: as it is
  }
  const bytes = Uint8Array.from(raw, (letter) => letter.charCodeAt(0));
  const textual = !type || /json|text|xml|javascript|event-stream|x-www-form-urlencoded|multipart/.test(type);
  try {
    const text = new TextDecoder("utf-8", { fatal: !textual }).decode(bytes);
    return { bytes: bytes.length, text: textual || looksTextual(text) ? text : null, type, base64 };
  } catch {
    return { bytes: bytes.length, text: null, type, base64 };
  }
}

// eslint-disable-next-line no-control-regex
const looksTextual = (text: string): boolean => !/[\u0000-\u0008\u000e-\u001a]/.test(text.slice(0, 2000));

export const contentType = (headers: Record<string, string> | null): string => {
  for (const [name, value] of Object.entries(headers ?? {})) if (name.toLowerCase() === "content-type") return value;
  return "";
};
