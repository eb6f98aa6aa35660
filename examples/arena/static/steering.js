/** Where the player wants to go: keys, a held mouse, or a thumb on the canvas. */

const KEYS = {
  ArrowLeft: [-1, 0], KeyA: [-1, 0], ArrowRight: [1, 0], KeyD: [1, 0],
  ArrowUp: [0, -1], KeyW: [0, -1], ArrowDown: [0, 1], KeyS: [0, 1],
};
export const STICK_PIXELS = 70; // this far from its centre the stick means full speed

export class Steering {
  enabled = false;
  stick = { active: false, touch: false, x: 0, y: 0, toX: 0, toY: 0 };
  #held = new Set();

  constructor(canvas) {
    addEventListener("keydown", (event) => {
      if (!this.enabled || !(event.code in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.#held.add(event.code);
    });
    addEventListener("keyup", (event) => this.#held.delete(event.code));
    addEventListener("blur", () => this.#held.clear());
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.enabled || !event.isPrimary) return;
      canvas.setPointerCapture(event.pointerId);
      const { clientX: x, clientY: y } = event;
      Object.assign(this.stick, { active: true, touch: event.pointerType !== "mouse", x, y, toX: x, toY: y });
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.isPrimary) Object.assign(this.stick, { toX: event.clientX, toY: event.clientY });
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => event.isPrimary && (this.stick.active = false));
    }
  }

  /** Take or refuse input; either way nothing stays pressed. */
  enable(enabled) {
    this.enabled = enabled;
    this.stick.active = false;
    this.#held.clear();
  }

  /** Right and down, at most 1 long. A thumb drags from where it landed; a mouse points where the disc should go. */
  direction(discOnScreen) {
    if (!this.enabled) return [0, 0];
    let [dx, dy] = [0, 0];
    for (const code of this.#held) [dx, dy] = [dx + KEYS[code][0], dy + KEYS[code][1]];
    if (this.stick.active) {
      const from = this.stick.touch ? this.stick : discOnScreen;
      [dx, dy] = [(this.stick.toX - from.x) / STICK_PIXELS, (this.stick.toY - from.y) / STICK_PIXELS];
    }
    const length = Math.hypot(dx, dy);
    return length > 1 ? [dx / length, dy / length] : [dx, dy];
  }
}
