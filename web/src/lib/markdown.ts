// Markdown of a model as safe HTML. Raw HTML in it is text; what is left goes through the sanitiser.
import DOMPurify from "dompurify";
import hljs from "highlight.js/lib/core";
import { Marked, type Tokens } from "marked";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import go from "highlight.js/lib/languages/go";
import ini from "highlight.js/lib/languages/ini";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import markdown from "highlight.js/lib/languages/markdown";
import php from "highlight.js/lib/languages/php";
import python from "highlight.js/lib/languages/python";
import ruby from "highlight.js/lib/languages/ruby";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";

const LANGUAGES = { bash, c, cpp, css, diff, go, ini, java, javascript, json, markdown, php, python, ruby, rust, sql, typescript, xml, yaml };
for (const [name, language] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, language);

const escaped = (text: string): string => text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);

type Typeset = (tex: string, display: boolean) => string;
let typeset: Typeset | null = null;
let asked: Promise<void> | null = null;

/** Load what sets formulas, once some text has one. */
export function needMath(text: string): Promise<void> | null {
  if (typeset || !/\$[^\s$]|\$\$|\\\(|\\\[/.test(text)) return null;
  return (asked ??= import("./math").then(
    (module) => {
      typeset = module.typeset;
    },
    () => undefined, // formulas stay as they were written
  ));
}

interface MathToken extends Tokens.Generic {
  tex: string;
  display: boolean;
}

const render = (token: Tokens.Generic): string => {
  const { tex, display, raw } = token as MathToken;
  return typeset ? typeset(tex, display) : `<code>${escaped(raw)}</code>`;
};

const marked = new Marked({
  gfm: true,
  extensions: [
    {
      name: "displayMath",
      level: "block",
      start: (text: string) => text.search(/\$\$|\\\[/),
      tokenizer(text: string) {
        const found = /^ {0,3}(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])/.exec(text);
        return found ? { type: "displayMath", raw: found[0], tex: (found[1] ?? found[2] ?? "").trim(), display: true } : undefined;
      },
      renderer: render,
    },
    {
      name: "inlineMath",
      level: "inline",
      start: (text: string) => text.search(/\$|\\\(|\\\[/),
      tokenizer(text: string) {
        const found = /^(?:\$\$([^$]+?)\$\$|\\\[([\s\S]+?)\\\]|\\\(([\s\S]+?)\\\)|\$(?![\s\d])([^$\n]+?)(?<!\s)\$(?!\d))/.exec(text);
        if (!found) return undefined;
        return { type: "inlineMath", raw: found[0], tex: (found[1] ?? found[2] ?? found[3] ?? found[4] ?? "").trim(), display: Boolean(found[1] ?? found[2]) };
      },
      renderer: render,
    },
  ],
  renderer: {
    html: ({ text }: Tokens.HTML | Tokens.Tag) => escaped(text),
    code({ text, lang }: Tokens.Code) {
      const name = (lang ?? "").split(/\s/)[0]!.toLowerCase();
      const body = hljs.getLanguage(name) ? hljs.highlight(text, { language: name, ignoreIllegals: true }).value : escaped(text);
      return `<pre tabindex="0"><code>${body}\n</code></pre>`;
    },
    image({ href, text }: Tokens.Image) {
      if (/^data:image\/(png|jpeg|gif|webp);/.test(href)) return `<img src="${escaped(href)}" alt="${escaped(text)}">`;
      // fetching it would tell a stranger that this was read
      return `<span class="tag" data-remote-image="${escaped(href)}">image: ${escaped(text || href)}</span>`;
    },
  },
});

const ALLOWED = {
  ALLOWED_TAGS: [
    "p", "br", "hr", "em", "strong", "del", "code", "pre", "span", "a", "ul", "ol", "li", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "img", "input", "div",
    "math", "mrow", "mi", "mo", "mn", "ms", "mtext", "mspace", "msup", "msub", "msubsup", "mfrac", "msqrt", "mroot", "munder", "mover", "munderover", "mtable", "mtr", "mtd", "mstyle", "mpadded", "menclose", "mphantom", "semantics",
  ],
  ALLOWED_ATTR: ["href", "title", "alt", "src", "class", "type", "checked", "disabled", "align", "start", "tabindex", "target", "rel", "data-remote-image", "display", "mathvariant", "stretchy", "fence", "form", "lspace", "rspace", "accent", "accentunder", "columnalign", "displaystyle", "scriptlevel", "width", "height", "depth", "voffset", "linethickness"],
  ALLOW_DATA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|#|data:image\/(?:png|jpeg|gif|webp);)/i,
};

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    if (/^data:/i.test(node.getAttribute("href") ?? "")) node.removeAttribute("href");
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
  if (node.tagName === "INPUT" && node.getAttribute("type") !== "checkbox") node.remove();
});

export const sanitise = (html: string): string => DOMPurify.sanitize(html, ALLOWED);

/** Markdown to HTML that still has to be sanitised; what cannot be read is shown as it is. */
export function toHtml(text: string): string {
  try {
    return marked.parse(text, { async: false });
  } catch {
    return `<p>${escaped(text)}</p>`;
  }
}
