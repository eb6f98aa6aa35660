/** Arena's rules, as far as the page knows them: numbers and movement, as game.py has them, and places in between. */

export const WORLD = { width: 1800, height: 1200 }; // in units; a disc is 44 wide
export const RADIUS = { disc: 22, spark: 13, lucky: 19 };
export const RUN_SECONDS = 60;

/** One step of gliding, as the server does it: thrust, drag, soft walls. `dx`, `dy` is the wish, at most 1 long. */
export function glide(disc, dx, dy, seconds) {
  const drag = Math.exp(-2.1 * seconds);
  disc.vx = disc.vx * drag + dx * 980 * seconds;
  disc.vy = disc.vy * drag + dy * 980 * seconds;
  disc.x += disc.vx * seconds;
  disc.y += disc.vy * seconds;
  const [left, right, top, bottom] = [RADIUS.disc, WORLD.width - RADIUS.disc, RADIUS.disc, WORLD.height - RADIUS.disc];
  if (disc.x < left || disc.x > right) [disc.x, disc.vx] = [Math.min(Math.max(disc.x, left), right), -disc.vx * 0.6];
  if (disc.y < top || disc.y > bottom) [disc.y, disc.vy] = [Math.min(Math.max(disc.y, top), bottom), -disc.vy * 0.6];
}

/** Where a remote disc was at `time`, between the two positions around it; a little beyond the last one if need be. */
export function positionAt(samples, time) {
  const after = samples.findIndex((sample) => sample.time >= time);
  if (after > 0) {
    const [a, b] = [samples[after - 1], samples[after]];
    const part = (time - a.time) / (b.time - a.time);
    return { x: a.x + (b.x - a.x) * part, y: a.y + (b.y - a.y) * part };
  }
  const last = after === 0 ? samples[0] : samples.at(-1);
  const ahead = after === 0 ? 0 : Math.min(time - last.time, 150) / 1000;
  return { x: last.x + last.vx * ahead, y: last.y + last.vy * ahead };
}
