// Leaves: what one entry says, and whether it keeps the rules of its event. The rules come from the
// gateway's own table (`events.json`), loaded with the page.

import { Malformed, Reader, concat, hmac, need, same, text, utf8 } from "./bytes.js";

const RECEIPT = 4;

let rules = new Map();

/** Takes the table of events in: for each its class, and the numbers of its parts, outcomes and facts. */
export function learnEvents(table) {
  rules = new Map(table.map((event) => [event.number, event]));
}

export const ruleOf = (event) => rules.get(event);

/** Reads a leaf. `refusal` is set where it breaks its format, or is of a version or an event not known here. */
export function readLeaf(bytes) {
  const leaf = { bytes };
  try {
    need(bytes.length >= 64 && bytes.length <= 4096);
    const reader = new Reader(bytes);
    const keys = reader.head(5);
    reader.key(0);
    if (reader.uint() !== 1) return { ...leaf, refusal: "unknown_version" };
    need(keys === 10);
    readOrder(reader, leaf);
    reader.key(5);
    leaf.event = reader.uint();
    reader.key(6);
    leaf.outcome = reader.uint();
    need(leaf.outcome <= 3);
    reader.key(7);
    leaf.class = reader.uint();
    reader.key(8);
    leaf.parts = readParts(reader);
    reader.key(9);
    leaf.rule = rules.get(leaf.event);
    if (!leaf.rule) return { ...leaf, refusal: "unknown_event" };
    leaf.facts = readFacts(reader);
    need(reader.isDone && keepsRule(leaf));
    return leaf;
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return { ...leaf, refusal: "malformed" };
  }
}

function readOrder(reader, leaf) {
  reader.key(1);
  leaf.seq = reader.uint();
  need(Number.isSafeInteger(leaf.seq));
  reader.key(2);
  leaf.previous = reader.string(32);
  reader.key(3);
  leaf.entry = reader.string(16);
  reader.key(4);
  leaf.time = reader.uint();
}

function readParts(reader) {
  const parts = [];
  const count = reader.head(4);
  need(count <= 4);
  for (let last = 0; parts.length < count;) {
    need(reader.head(4) === 4);
    const role = reader.uint();
    need(role > last && role <= RECEIPT);
    last = role;
    const [tag, commitment] = [reader.string(16), reader.string(32)];
    parts.push({ role, tag, commitment, sealedHash: reader.string(role === RECEIPT ? 0 : 32) });
  }
  return parts;
}

function readFacts(reader) {
  const facts = new Map();
  let last = 0;
  for (let left = reader.head(5); left > 0; left -= 1) {
    const number = reader.uint();
    need(number > last && number <= 16);
    last = number;
    facts.set(number, readFact(number, reader));
  }
  return facts;
}

function readFact(number, reader) {
  switch (number) {
    case 1: case 2: case 8: return reader.string(32);
    case 9: case 16: return reader.string(33);
    case 10: return text(reader.string());
    case 3:
      need(reader.head(4) === 3);
      return [reader.uint(), reader.uint(), reader.uint()];
    case 5: return Array.from({ length: Math.min(reader.head(4), 4096) }, () => reader.string(32));
    default: {
      const value = reader.uint();
      need(number !== 6 || (value >= 1 && value <= 9));
      return value;
    }
  }
}

function keepsRule({ rule, class: class_, outcome, parts, facts }) {
  const keeps = (found, required, optional) =>
    required.every((number) => found.includes(number))
    && found.every((number) => required.includes(number) || optional.includes(number));
  return class_ === rule.class
    && rule.outcomes.includes(outcome)
    && keeps(parts.map((part) => part.role), rule.parts, rule.optional_parts)
    && keeps([...facts.keys()], rule.facts, rule.optional_facts);
}

/** Whether the leaf commits to an opened part: `{role, commitKey, plaintext}`. */
export async function isBound(part, leaf, origin) {
  const named = leaf.parts.find(({ role }) => role === part.role);
  if (!named) return false;
  const message = concat(
    utf8("amanat/audit-commitment/v1\0"),
    component(0x04, Uint8Array.of(part.role)),
    component(0x05, leaf.entry),
    component(0x06, Uint8Array.of(leaf.event >> 8, leaf.event & 255)),
    component(0x07, Uint8Array.of(leaf.class)),
    component(0x0e, utf8(origin)),
    component(0x0f, part.plaintext),
  );
  return same(await hmac(part.commitKey, message), named.commitment);
}

/** The tag of a part, for whoever has the tag key of its person. */
export async function tagOf(tagKey, role, entry) {
  const message = concat(utf8("amanat/audit-tag/v1\0"), component(0x04, Uint8Array.of(role)), component(0x05, entry));
  return (await hmac(tagKey, message)).subarray(0, 16);
}

function component(tag, bytes) {
  const head = new DataView(new ArrayBuffer(5));
  head.setUint8(0, tag);
  head.setUint32(1, bytes.length);
  return concat(new Uint8Array(head.buffer), bytes);
}

/** The payload of an opened part: padding off (`0x80`, then zeros), CBOR read. */
export function payloadOf(plaintext) {
  need(plaintext.length <= 16384);
  const end = plaintext.findLastIndex((byte) => byte !== 0);
  need(end >= 0 && plaintext[end] === 0x80);
  const reader = new Reader(plaintext.subarray(0, end));
  const value = reader.value();
  need(reader.isDone);
  return value;
}
