/** Follows the synchronised state of a match: reads snapshots and changes, and asks again when one was missed. */

export const SNAPSHOT_OP = -1;
export const CHANGES_OP = -2;
export const ASK_OP = -3;
const FORMAT = 1;

export class StateSync {
  /** The state as it is now; undefined before the first snapshot. Never changed in place: what did not change, stays the same object. */
  state = undefined;
  #version = -1;
  #keys = [];
  #waiting = false; // for a snapshot that was asked for
  #unknown = false; // the server speaks a format that this file does not
  #socket;
  #onChange;
  #onError;

  constructor({ socket, onChange = () => {}, onError = (error) => console.error(error) } = {}) {
    this.#socket = socket;
    this.#onChange = onChange;
    this.#onError = onError;
  }

  /** Take a message of `onmatchdata`. True if it belonged to the state; others are for the game. */
  receive({ op_code, data, match_id }) {
    if (op_code !== SNAPSHOT_OP && op_code !== CHANGES_OP) return false;
    if (this.#unknown) return true;
    const before = this.state;
    try {
      const taken = op_code === SNAPSHOT_OP ? this.#snapshot(read(data)) : this.#changes(read(data), match_id);
      if (!taken) return true;
    } catch (error) {
      this.#onError(error);
      this.#ask(match_id);
      return true;
    }
    this.#onChange(this.state, before);
    return true;
  }

  #snapshot(body) {
    const snapshot = body instanceof Map ? Object.fromEntries(body) : body;
    if (snapshot.format !== FORMAT) {
      this.#unknown = true;
      this.#onError(new Error(`The state comes in format ${snapshot.format}; this file reads ${FORMAT}: take a newer one.`));
      return false;
    }
    this.#keys = (snapshot.keys ?? []).map((key) => (Array.isArray(key) ? key : [key, undefined]));
    this.state = this.#value(snapshot.state);
    this.#version = snapshot.version;
    this.#waiting = false;
    return true;
  }

  #changes([since, version, changes], match_id) {
    if (since !== this.#version || this.#waiting) {
      // What is older than the snapshot in hand is contained in it.
      if (version > this.#version) this.#ask(match_id);
      return false;
    }
    this.state = this.#changed(this.state, changes);
    this.#version = version;
    return true;
  }

  #ask(match_id) {
    if (this.#waiting) return;
    this.#waiting = true;
    Promise.resolve(this.#socket?.sendMatchState(match_id, ASK_OP, "")).catch((error) => {
      this.#waiting = false;
      this.#onError(error);
    });
  }

  /** A copy of `node` with changes; what did not change is shared with it. */
  #changed(node, changes, steps) {
    if (Array.isArray(node)) {
      const items = node.slice();
      for (const [index, change] of entries(changes)) {
        if (index === "#") items.length = change;
        else items[index] = isMap(change) ? this.#changed(node[index], change, steps) : this.#set(change, steps);
      }
      return items;
    }
    if (!isMap(node)) throw new Error("a change inside something that has no inside");
    const copy = { ...node };
    for (const [key, change] of entries(changes)) {
      const [name, inner] = this.#key(key, steps);
      if (Array.isArray(change) && change.length === 0) delete copy[name];
      else put(copy, name, isMap(change) ? this.#changed(node[name], change, inner) : this.#set(change, inner));
    }
    return copy;
  }

  #set(change, steps) {
    return this.#value(Array.isArray(change) ? change[0] : change, steps);
  }

  #value(value, steps) {
    if (Array.isArray(value)) return value.map((item) => this.#value(item, steps));
    if (isMap(value)) {
      const made = {};
      for (const [key, entry] of entries(value)) {
        const [name, inner] = this.#key(key, steps);
        put(made, name, this.#value(entry, inner));
      }
      return made;
    }
    return steps !== undefined && typeof value === "number" ? value / steps : value;
  }

  #key(key, steps) {
    return typeof key === "number" ? this.#keys[key] : [key, steps];
  }
}

const isMap = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const entries = (map) => (map instanceof Map ? map.entries() : Object.entries(map));

function put(object, name, value) {
  // The one name that assignment treats specially; names may come from players.
  if (name === "__proto__") Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
  else object[name] = value;
}

const decoder = new TextDecoder();

/** JSON or MessagePack, told apart by the first byte. Maps of MessagePack become `Map`, which keeps numbers and order. */
function read(data) {
  if (typeof data === "string") return JSON.parse(data);
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  if (bytes[0] === 0x7b || bytes[0] === 0x5b) return JSON.parse(decoder.decode(bytes));
  return unpack(bytes);
}

function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (size, method) => {
    const value = view[method](at);
    at += size;
    return Number(value);
  };
  const text = (length) => {
    if (at + length > bytes.length) throw new RangeError("a message that ends too early");
    at += length;
    return decoder.decode(bytes.subarray(at - length, at));
  };
  const array = (length) => {
    const items = [];
    for (let left = length; left > 0; left--) items.push(next());
    return items;
  };
  const map = (length) => {
    const made = new Map();
    for (let left = length; left > 0; left--) {
      const key = next();
      made.set(key, next());
    }
    return made;
  };
  const next = () => {
    const kind = take(1, "getUint8");
    if (kind < 0x80) return kind;
    if (kind >= 0xe0) return kind - 0x100;
    if (kind < 0x90) return map(kind & 0x0f);
    if (kind < 0xa0) return array(kind & 0x0f);
    if (kind < 0xc0) return text(kind & 0x1f);
    switch (kind) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xca: return take(4, "getFloat32");
      case 0xcb: return take(8, "getFloat64");
      case 0xcc: return take(1, "getUint8");
      case 0xcd: return take(2, "getUint16");
      case 0xce: return take(4, "getUint32");
      case 0xcf: return take(8, "getBigUint64");
      case 0xd0: return take(1, "getInt8");
      case 0xd1: return take(2, "getInt16");
      case 0xd2: return take(4, "getInt32");
      case 0xd3: return take(8, "getBigInt64");
      case 0xd9: return text(take(1, "getUint8"));
      case 0xda: return text(take(2, "getUint16"));
      case 0xdb: return text(take(4, "getUint32"));
      case 0xdc: return array(take(2, "getUint16"));
      case 0xdd: return array(take(4, "getUint32"));
      case 0xde: return map(take(2, "getUint16"));
      case 0xdf: return map(take(4, "getUint32"));
      default: throw new Error(`a message with the unknown byte ${kind}`);
    }
  };
  return next();
}
