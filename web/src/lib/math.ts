// TeX as MathML; loaded only when a text has a formula. No fonts come with it.
import temml from "temml";

export function typeset(tex: string, display: boolean): string {
  return temml.renderToString(tex, { displayMode: display, throwOnError: false, trust: false });
}
