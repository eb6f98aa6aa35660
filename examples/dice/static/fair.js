/** Works out a roll again from the seeds, in the browser: the algorithm palestra-fair-1 of docs/guide/fair.md. */

export const SIDES = 100;

/** Whether the browser lets us: WebCrypto is there on https and on this machine, not on plain http elsewhere. */
export const canCompute = globalThis.crypto?.subtle !== undefined;

const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** 32 bytes from 64 hex digits, null for anything else. */
export function seedBytes(text) {
  return /^[0-9a-f]{64}$/i.test(text) ? Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16)) : null;
}

export async function commitmentOf(seed) {
  return hex(await crypto.subtle.digest("SHA-256", seed));
}

/** The unsigned 64-bit words of one draw: block after block of HMAC-SHA256, four words each, highest byte first. */
async function* words(seed, clientSeed, nonce) {
  const key = await crypto.subtle.importKey("raw", seed, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  for (let block = 0; ; block += 1) {
    const message = new TextEncoder().encode(`${clientSeed}:${nonce}:${block}`);
    const digest = new DataView(await crypto.subtle.sign("HMAC", key, message));
    for (const start of [0, 8, 16, 24]) yield digest.getBigUint64(start);
  }
}

/** A roll from 0 to 99 and the word that it comes from. A word too high would favour low numbers, so it is passed over. */
export async function rollOf(seed, clientSeed, nonce) {
  const sides = BigInt(SIDES);
  const limit = 2n ** 64n - (2n ** 64n % sides);
  for await (const word of words(seed, clientSeed, nonce)) {
    if (word < limit) return { roll: Number(word % sides), word: word.toString(16).padStart(16, "0") };
  }
}
