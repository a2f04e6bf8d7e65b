/** Pixels from the end that still count as there. */
const NEAR = 40;

/**
 * Whether a scrolled list stays at its end. Only a move upwards ends that: an event may come late,
 * when the list has grown again and its end is already elsewhere.
 */
export class Follower {
  on = true;
  private top = 0;

  scrolled(element: HTMLElement): void {
    const { scrollTop, scrollHeight, clientHeight } = element;
    if (scrollHeight - scrollTop - clientHeight <= NEAR) this.on = true;
    else if (scrollTop < this.top) this.on = false;
    this.top = scrollTop;
  }

  /** Go to the end if that is followed. A move whose event is still to come counts: else it would be undone. */
  keepUp(element: HTMLElement): void {
    this.scrolled(element);
    if (this.on) this.toEnd(element);
  }

  toEnd(element: HTMLElement): void {
    element.scrollTop = element.scrollHeight;
    this.top = element.scrollTop;
  }
}
