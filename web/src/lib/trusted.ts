// The one Trusted Types policy of the page: scripts only from our own folder, HTML only from the
// sanitiser. Where the browser has no Trusted Types, the same checks hold without it.

interface Policy {
  createHTML: (html: string) => string;
  createScriptURL: (address: string) => string;
}
interface Factory {
  createPolicy: (name: string, rules: Policy) => Policy;
}

function ownScript(address: string): string {
  const wanted = new URL(address, location.href);
  if (wanted.origin !== location.origin || !wanted.pathname.includes("/assets/") && !wanted.pathname.includes("/src/")) throw new TypeError(`not a script of this page: ${address}`);
  return address;
}

let policy: Policy | undefined;

function thePolicy(): Policy {
  const rules: Policy = { createHTML: (html) => html, createScriptURL: ownScript };
  const factory = (globalThis as { trustedTypes?: Factory }).trustedTypes;
  return (policy ??= factory ? factory.createPolicy("llamaswap", rules) : rules);
}

export const scriptAddress = (address: URL): string => thePolicy().createScriptURL(address.href);

/** The only place where HTML becomes part of the page; `sanitise` must be the sanitiser. */
export function setSafeHtml(element: Element, html: string, sanitise: (html: string) => string): void {
  element.innerHTML = thePolicy().createHTML(sanitise(html));
}
