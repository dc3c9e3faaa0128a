// Bytes: hexadecimal, strict base64, hashes, and deterministic CBOR (RFC 8949 §4.2.1).

export class Malformed extends Error {}

export const need = (condition) => {
  if (!condition) throw new Malformed();
};

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export const same = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);

export function concat(...pieces) {
  const all = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

export const utf8 = (text) => new TextEncoder().encode(text);

export function text(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Malformed();
  }
}

export function base64(encoded) {
  let binary;
  try {
    binary = atob(encoded);
  } catch {
    throw new Malformed();
  }
  // One value has one spelling.
  need(btoa(binary) === encoded);
  return Uint8Array.from(binary, (char) => char.charCodeAt(0));
}

/** A decimal number without sign or leading zero, below 2^63. */
export function decimal(digits) {
  need(/^(0|[1-9][0-9]{0,18})$/.test(digits) && BigInt(digits) < 1n << 63n);
  // What a browser counts exactly is more than any log holds.
  need(Number.isSafeInteger(Number(digits)));
  return Number(digits);
}

export const sha256 = async (...pieces) => new Uint8Array(await crypto.subtle.digest("SHA-256", concat(...pieces)));

export async function hmac(key, message) {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, message));
}

/** Reads items of deterministic CBOR. Numbers past 2^53 come as BigInt. */
export class Reader {
  #at = 0;

  constructor(bytes) {
    this.bytes = bytes;
  }

  get isDone() {
    return this.#at === this.bytes.length;
  }

  take(count) {
    need(count <= this.bytes.length - this.#at);
    this.#at += Number(count);
    return this.bytes.subarray(this.#at - Number(count), this.#at);
  }

  peek() {
    need(!this.isDone);
    return this.bytes[this.#at];
  }

  head(kind) {
    const [first] = this.take(1);
    const short = first & 31;
    need(first >> 5 === kind && short < 28);
    if (short < 24) return short;
    const value = this.take(1 << (short - 24)).reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
    need(value >= [24n, 1n << 8n, 1n << 16n, 1n << 32n][short - 24]);
    return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
  }

  uint() {
    return this.head(0);
  }

  string(length) {
    const said = this.head(2);
    need(length === undefined || said === length);
    return this.take(said);
  }

  key(expected) {
    need(this.take(1)[0] === expected);
  }

  words() {
    return text(this.take(this.head(3)));
  }

  /** A value of a payload. Maps come as Map, so that no key has a meaning of its own. */
  value(depth = 16) {
    need(depth > 0);
    const first = this.peek();
    if (first === 0xf4 || first === 0xf5) return this.take(1)[0] === 0xf5;
    switch (first >> 5) {
      case 0: return this.uint();
      case 2: return this.string();
      case 3: return this.words();
      case 4: return Array.from({ length: this.#count(4) }, () => this.value(depth - 1));
      default: return this.#map(depth);
    }
  }

  #count(kind) {
    const count = this.head(kind);
    need(count <= this.bytes.length);
    return count;
  }

  #map(depth) {
    const members = new Map();
    let last;
    for (let left = this.#count(5); left > 0; left -= 1) {
      const key = this.words();
      const encoded = utf8(key);
      need(last === undefined || isBefore(last, encoded));
      last = encoded;
      members.set(key, this.value(depth - 1));
    }
    return members;
  }
}

/** Keys are sorted by their encoding: shorter ones first, then bytewise. */
function isBefore(one, other) {
  if (one.length !== other.length) return one.length < other.length;
  const at = one.findIndex((byte, index) => byte !== other[index]);
  return at >= 0 && one[at] < other[at];
}
