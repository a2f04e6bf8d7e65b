import { render } from "preact";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { navigated } from "../src/state/router";
import { Menu } from "../src/ui/basics";
import { Shell } from "../src/ui/shell";

const app = () => document.getElementById("app")!;
/** What happens before the next event: no frame, no timer. */
const drawn = async () => {
  for (let i = 0; i < 5; i++) await Promise.resolve();
};
const press = (key: string, more: KeyboardEventInit = {}) => (document.activeElement ?? document.body).dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, ...more }));

beforeEach(() => {
  vi.stubGlobal("fetch", () => new Promise(() => undefined)); // no server here
  vi.useFakeTimers();
  document.body.innerHTML = '<div id="app"></div>';
});
afterEach(() => {
  render(null, app());
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("keys that follow Ctrl+K at once are the palette's", async () => {
  render(<Shell><h1 tabIndex={-1}>A page</h1></Shell>, app());
  press("k", { ctrlKey: true });
  await drawn();
  expect(document.querySelector("dialog")!.open).toBe(true);
  expect(document.activeElement!.getAttribute("aria-label")).toBe("Command");
  press("k", { ctrlKey: true }); // and closes it for the other tests
});

test("Escape right after a menu was opened closes it", async () => {
  render(<Menu label="Options" icon="settings"><p>inside</p></Menu>, app());
  document.querySelector("button")!.click();
  await drawn();
  expect(app().textContent).toContain("inside");
  press("Escape");
  await drawn();
  expect(app().textContent).not.toContain("inside");
});

test("the heading of a new page gets the focus, unless something of the page has it by then", async () => {
  render(<Shell><a href="#x">a link</a><h1 tabIndex={-1}>A page</h1><input aria-label="field" /></Shell>, app());
  await vi.runOnlyPendingTimersAsync(); // effects
  const [link, heading, field] = ["main a", "main h1", "main input"].map((what) => document.querySelector<HTMLElement>(what)!);
  link!.focus();
  navigated.value += 1;
  await vi.advanceTimersByTimeAsync(50);
  expect(document.activeElement).toBe(heading);
  navigated.value += 1;
  field!.focus();
  await vi.advanceTimersByTimeAsync(2_000);
  expect(document.activeElement).toBe(field);
});
