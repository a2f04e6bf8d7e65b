// A growing Markdown text as blocks: what is complete is never touched again, only the open tail is.

export interface Blocks {
  done: string[];
  tail: string;
  /** What must follow the tail so that it reads as if it were complete. */
  closing: string;
}

const FENCE = /^ {0,3}(`{3,}|~{3,})/;

export function splitBlocks(text: string): Blocks {
  const done: string[] = [];
  let start = 0;
  let at = 0;
  let fence = "";
  let math = "";
  let blank = true;
  const cut = (end: number) => {
    if (text.slice(start, end).trim()) done.push(text.slice(start, end));
    start = end;
  };
  while (at < text.length) {
    const newline = text.indexOf("\n", at);
    if (newline < 0 && !fence && !math) break;
    const end = newline < 0 ? text.length : newline + 1;
    const line = text.slice(at, end).replace(/\r?\n$/, "");
    const opened = FENCE.exec(line)?.[1];
    if (fence) {
      if (newline >= 0 && opened && opened[0] === fence[0] && opened.length >= fence.length && line.trim() === opened) {
        fence = "";
        cut(end);
        blank = true;
      }
    } else if (math) {
      if (newline >= 0 && line.trimEnd().endsWith(math)) {
        math = "";
        cut(end);
        blank = true;
      }
    } else if (opened) {
      fence = opened;
      blank = false;
    } else if (line.trim() === "") {
      if (!blank) cut(end);
      blank = true;
    } else {
      blank = false;
      const trimmed = line.trim();
      if (trimmed.startsWith("$$") && (trimmed === "$$" || !trimmed.endsWith("$$"))) math = "$$";
      else if (trimmed.startsWith("\\[") && !trimmed.endsWith("\\]")) math = "\\]";
    }
    at = end;
  }
  const tail = text.slice(start);
  const broken = tail !== "" && !tail.endsWith("\n");
  const closing = fence ? `${broken ? "\n" : ""}${fence}` : math ? `${broken ? "\n" : ""}${math}` : "";
  return { done, tail, closing };
}
