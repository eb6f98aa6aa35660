/** The field on its canvas: camera, grid, sparks, discs, trails, and the short-lived effects. It knows no network. */

import { RADIUS, WORLD } from "./rules.js";
import { STICK_PIXELS } from "./steering.js";

const TRAIL_POINTS = 26;
const FONT = 'ui-rounded, "SF Pro Rounded", "Segoe UI", system-ui, "Noto Sans", sans-serif';

export class Field {
  covered = { top: 80, right: 0 }; // CSS pixels that the page has put over the canvas
  #canvas;
  #pen;
  #size = { width: 0, height: 0 }; // CSS pixels
  #camera = { x: WORLD.width / 2, y: WORLD.height / 2, scale: 1 };
  #calm = matchMedia("(prefers-reduced-motion: reduce)");
  #glows = new Map(); // hue → a picture of its glow: drawing a picture is far cheaper than a gradient
  #trails = new WeakMap(); // disc → its last places
  #embers = [];
  #words = [];

  constructor(canvas) {
    this.#canvas = canvas;
    this.#pen = canvas.getContext("2d", { alpha: false });
    new ResizeObserver(() => this.#fit()).observe(canvas);
    this.#fit();
  }

  #fit() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const density = Math.min(devicePixelRatio || 1, 2);
    [this.#canvas.width, this.#canvas.height] = [width * density, height * density];
    this.#size = { width, height, density };
    // Tall or wide, everybody sees about the same area.
    this.#camera.scale = Math.sqrt(width * height) / 900;
  }

  /** Where a place of the world is on the page, in CSS pixels. */
  toScreen({ x, y }) {
    const { width, height } = this.#size;
    const camera = this.#camera;
    return { x: (x - camera.x) * camera.scale + width / 2, y: (y - camera.y) * camera.scale + height / 2 };
  }

  /** Embers fly where a spark was taken. */
  burst({ x, y, lucky }, hue) {
    if (this.#calm.matches) return;
    for (let count = lucky ? 26 : 12; count > 0; count--) {
      const [angle, speed] = [Math.random() * Math.PI * 2, 60 + Math.random() * (lucky ? 320 : 200)];
      this.#embers.push({ x, y, vx: Math.cos(angle) * speed, vy: Math.sin(angle) * speed, hue, age: 0, life: 0.35 + Math.random() * 0.4 });
    }
  }

  /** A word that rises from a place and fades. */
  say(text, x, y) {
    this.#words.push({ text, x, y, age: 0 });
  }

  /** One picture. Cost grows with what is on the field, not with the size of the world. */
  draw({ me, players, sparks, daily, stick }, now, seconds) {
    const pen = this.#pen;
    const { width, height, density } = this.#size;
    this.#follow(me, seconds);
    const { x, y, scale } = this.#camera;
    pen.setTransform(density, 0, 0, density, 0, 0);
    pen.fillStyle = "#05070f";
    pen.fillRect(0, 0, width, height);
    pen.translate(width / 2, height / 2);
    pen.scale(scale, scale);
    pen.translate(-x, -y);
    this.#drawGround();
    const discs = [...players.values()].filter((player) => Number.isFinite(player.x));
    pen.globalCompositeOperation = "lighter";
    for (const disc of [...discs, me]) this.#drawTrail(disc);
    for (const spark of sparks) if (spark.generation >= 0) this.#drawSpark(spark, daily.hue, now);
    this.#drawEmbers(seconds);
    pen.globalCompositeOperation = "source-over";
    for (const disc of discs) this.#drawDisc(disc, disc.name);
    this.#drawDisc(me, "");
    this.#drawWords(seconds);
    pen.setTransform(density, 0, 0, density, 0, 0);
    for (const disc of discs) this.#drawPointer(disc);
    if (stick.active && stick.touch) this.#drawStick(stick, me.hue);
  }

  #follow(me, seconds) {
    const camera = this.#camera;
    // At a border the view stops, with a margin; wide enough that nothing hides under the score line or the panels.
    const aim = (centre, seen, world, before, after) => {
      const half = seen / 2;
      if (seen > world + before + after) return (world + after - before) / 2;
      return Math.min(Math.max(centre, half - before), world - half + after);
    };
    const [width, height] = [this.#size.width / camera.scale, this.#size.height / camera.scale];
    const part = this.#calm.matches ? 1 : 1 - Math.exp(-7 * seconds);
    camera.x += (aim(me.x, width, WORLD.width, 70, this.covered.right / camera.scale + 70) - camera.x) * part;
    camera.y += (aim(me.y, height, WORLD.height, this.covered.top / camera.scale + 30, 70) - camera.y) * part;
  }

  #drawGround() {
    const pen = this.#pen;
    pen.beginPath();
    pen.roundRect(0, 0, WORLD.width, WORLD.height, 42);
    const floor = pen.createRadialGradient(WORLD.width / 2, WORLD.height / 2, 80, WORLD.width / 2, WORLD.height / 2, 1150);
    floor.addColorStop(0, "#141b3d");
    floor.addColorStop(0.6, "#0c1129");
    floor.addColorStop(1, "#090d1f");
    pen.fillStyle = floor;
    pen.fill();
    pen.save();
    pen.clip();
    pen.strokeStyle = "rgb(140 160 255 / 5.5%)";
    pen.lineWidth = 1.5;
    pen.beginPath();
    for (let x = 60; x < WORLD.width; x += 60) pen.moveTo(x, 0), pen.lineTo(x, WORLD.height);
    for (let y = 60; y < WORLD.height; y += 60) pen.moveTo(0, y), pen.lineTo(WORLD.width, y);
    pen.stroke();
    pen.restore();
    for (const [lineWidth, strokeStyle] of [[14, "rgb(110 130 255 / 9%)"], [6, "rgb(120 140 255 / 18%)"], [2, "rgb(165 180 255 / 75%)"]]) {
      Object.assign(pen, { lineWidth, strokeStyle });
      pen.beginPath();
      pen.roundRect(0, 0, WORLD.width, WORLD.height, 42);
      pen.stroke();
    }
  }

  #glow(hue) {
    if (!this.#glows.has(hue)) {
      const picture = Object.assign(document.createElement("canvas"), { width: 128, height: 128 });
      const pen = picture.getContext("2d");
      const light = pen.createRadialGradient(64, 64, 0, 64, 64, 64);
      // Light that falls off with the fourth power has no visible edge.
      for (let step = 0; step <= 10; step++) light.addColorStop(step / 10, `hsl(${hue} 100% 62% / ${80 * (1 - step / 10) ** 4}%)`);
      pen.fillStyle = light;
      pen.fillRect(0, 0, 128, 128);
      this.#glows.set(hue, picture);
    }
    return this.#glows.get(hue);
  }

  #shine(x, y, radius, hue) {
    this.#pen.drawImage(this.#glow(hue), x - radius, y - radius, radius * 2, radius * 2);
  }

  /** The trail is one ribbon that widens towards the disc; a jump (a lost connection, a new run) starts it anew. */
  #drawTrail(disc) {
    if (this.#calm.matches) return;
    let trail = this.#trails.get(disc) ?? [];
    const last = trail.at(-1);
    if (last && Math.hypot(disc.x - last.x, disc.y - last.y) > 150) trail = [];
    trail = [...trail, { x: disc.x, y: disc.y }].slice(-TRAIL_POINTS);
    this.#trails.set(disc, trail);
    const [tail, head] = [trail[0], trail.at(-1)];
    if (Math.hypot(head.x - tail.x, head.y - tail.y) < 4) return;
    const sides = [[], []];
    for (let point = 0; point < trail.length; point++) {
      const [a, b] = [trail[Math.max(point - 1, 0)], trail[Math.min(point + 1, trail.length - 1)]];
      const length = Math.hypot(b.x - a.x, b.y - a.y) || 1;
      const half = (RADIUS.disc * 0.85 * point) / trail.length / length;
      const { x, y } = trail[point];
      sides[0].push([x - (b.y - a.y) * half, y + (b.x - a.x) * half]);
      sides[1].unshift([x + (b.y - a.y) * half, y - (b.x - a.x) * half]);
    }
    const pen = this.#pen;
    pen.fillStyle = pen.createLinearGradient(tail.x, tail.y, head.x, head.y);
    pen.fillStyle.addColorStop(0, `hsl(${disc.hue} 100% 60% / 0%)`);
    pen.fillStyle.addColorStop(1, `hsl(${disc.hue} 100% 62% / 62%)`);
    pen.beginPath();
    for (const [x, y] of sides.flat()) pen.lineTo(x, y);
    pen.fill();
  }

  #drawSpark({ slot, x, y, lucky, bornAt }, luckyHue, now) {
    const pen = this.#pen;
    const hue = lucky ? luckyHue : 200;
    const calm = this.#calm.matches;
    const grown = calm ? 1 : Math.min((now - bornAt) / 300, 1);
    if (grown <= 0) return;
    const beat = calm ? 1 : 1 + Math.sin(now / 420 + slot * 1.7) * 0.12;
    const radius = (lucky ? RADIUS.lucky : RADIUS.spark) * grown * beat;
    this.#shine(x, y, radius * (lucky ? 5 : 4.2), hue);
    pen.save();
    pen.translate(x, y);
    pen.rotate(calm ? 0 : now / 1400 + slot);
    pen.fillStyle = lucky ? `hsl(${hue} 100% 74%)` : "#eaf6ff";
    pen.beginPath();
    const points = lucky ? 10 : 8; // tips and hollows by turns
    for (let point = 0; point < points; point++) {
      const angle = (point / points) * Math.PI * 2;
      const reach = point % 2 ? radius * (lucky ? 0.5 : 0.34) : radius;
      pen.lineTo(Math.cos(angle) * reach, Math.sin(angle) * reach);
    }
    pen.fill();
    pen.restore();
  }

  #drawDisc(disc, name) {
    const pen = this.#pen;
    const { x, y, hue } = disc;
    const radius = RADIUS.disc;
    pen.globalAlpha = disc.running ? 1 : 0.55;
    pen.globalCompositeOperation = "lighter";
    this.#shine(x, y, radius * 4.6, hue);
    pen.globalCompositeOperation = "source-over";
    const body = pen.createRadialGradient(x - radius * 0.35, y - radius * 0.4, radius * 0.1, x, y, radius);
    body.addColorStop(0, `hsl(${hue} 100% 94%)`);
    body.addColorStop(0.45, `hsl(${hue} 95% 66%)`);
    body.addColorStop(1, `hsl(${hue} 90% 42%)`);
    pen.fillStyle = body;
    pen.beginPath();
    pen.arc(x, y, radius, 0, Math.PI * 2);
    pen.fill();
    pen.strokeStyle = `hsl(${hue} 100% 88% / 85%)`;
    pen.lineWidth = 2;
    pen.stroke();
    pen.globalAlpha = 1;
    if (!name) return;
    const size = Math.max(13 / this.#camera.scale, 15); // never below what one can read
    pen.font = `600 ${size}px ${FONT}`;
    pen.textAlign = "center";
    pen.strokeStyle = "rgb(5 8 20 / 80%)";
    pen.lineWidth = 4;
    pen.lineJoin = "round";
    pen.strokeText(name, x, y + radius + size * 1.35);
    pen.fillStyle = disc.running ? "#eef2ff" : "#a9b3d6";
    pen.fillText(name, x, y + radius + size * 1.35);
  }

  #drawEmbers(seconds) {
    this.#embers = this.#embers.filter((ember) => (ember.age += seconds) < ember.life);
    for (const ember of this.#embers) {
      ember.x += ember.vx * seconds;
      ember.y += ember.vy * seconds;
      ember.vx *= 0.95;
      ember.vy *= 0.95;
      this.#shine(ember.x, ember.y, 15 * (1 - ember.age / ember.life), ember.hue);
    }
  }

  #drawWords(seconds) {
    const pen = this.#pen;
    this.#words = this.#words.filter((word) => (word.age += seconds) < 0.9);
    pen.textAlign = "center";
    pen.font = `800 ${Math.max(18 / this.#camera.scale, 22)}px ${FONT}`;
    for (const { text, x, y, age } of this.#words) {
      pen.globalAlpha = Math.min(1, (0.9 - age) * 2.5);
      pen.fillStyle = "#ffffff";
      pen.fillText(text, x, y - 26 - (this.#calm.matches ? 0 : age * 46));
    }
    pen.globalAlpha = 1;
  }

  /** An arrow at the edge of the page towards a player who is out of sight. */
  #drawPointer(disc) {
    const { width, height } = this.#size;
    const { x, y } = this.toScreen(disc);
    const reach = RADIUS.disc * this.#camera.scale;
    if (x > -reach && x < width + reach && y > -reach && y < height + reach) return;
    const angle = Math.atan2(y - height / 2, x - width / 2);
    const pen = this.#pen;
    pen.save();
    pen.translate(Math.min(Math.max(x, 20), width - 20), Math.min(Math.max(y, 20), height - 20));
    pen.rotate(angle);
    pen.fillStyle = `hsl(${disc.hue} 95% 66%)`;
    pen.beginPath();
    pen.moveTo(11, 0);
    pen.lineTo(-8, 8);
    pen.lineTo(-4, 0);
    pen.lineTo(-8, -8);
    pen.fill();
    pen.restore();
  }

  #drawStick({ x, y, toX, toY }, hue) {
    const pen = this.#pen;
    const length = Math.hypot(toX - x, toY - y);
    const part = length > STICK_PIXELS ? STICK_PIXELS / length : 1;
    pen.lineWidth = 2;
    pen.strokeStyle = "rgb(200 210 255 / 40%)";
    pen.fillStyle = "rgb(150 170 255 / 10%)";
    pen.beginPath();
    pen.arc(x, y, STICK_PIXELS, 0, Math.PI * 2);
    pen.fill();
    pen.stroke();
    pen.fillStyle = `hsl(${hue} 95% 66% / 80%)`;
    pen.beginPath();
    pen.arc(x + (toX - x) * part, y + (toY - y) * part, 28, 0, Math.PI * 2);
    pen.fill();
  }
}
