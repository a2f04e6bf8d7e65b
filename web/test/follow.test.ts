import { describe, expect, test } from "vitest";
import { Follower } from "../src/ui/follow";

const list = (scrollHeight: number, at: number) =>
  ({
    scrollHeight,
    clientHeight: 400,
    get scrollTop() {
      return at;
    },
    set scrollTop(wanted: number) {
      at = Math.min(wanted, scrollHeight - 400);
    },
  }) as HTMLElement;

describe("a list that stays at its end", () => {
  test("growing while an event is late ends nothing", () => {
    const follower = new Follower();
    const element = list(1000, 600);
    follower.toEnd(element);
    follower.scrolled(list(9000, 600));
    expect(follower.on).toBe(true);
  });

  test("a move upwards ends it, the end takes it up again", () => {
    const follower = new Follower();
    follower.scrolled(list(1000, 600));
    follower.scrolled(list(1000, 300));
    expect(follower.on).toBe(false);
    follower.scrolled(list(1000, 400)); // downwards, but not to the end
    expect(follower.on).toBe(false);
    follower.scrolled(list(1000, 565)); // 35 pixels above it
    expect(follower.on).toBe(true);
  });

  test("a move upwards counts before its event has come, growing does not", () => {
    const follower = new Follower();
    const element = list(1000, 0);
    follower.keepUp(element); // the first lines
    expect(element.scrollTop).toBe(600);
    const grown = list(2000, 600);
    follower.keepUp(grown);
    expect(grown.scrollTop).toBe(1600);
    grown.scrollTop = 900;
    follower.keepUp(grown); // a line that came before the event
    expect(grown.scrollTop).toBe(900);
    expect(follower.on).toBe(false);
  });
});
