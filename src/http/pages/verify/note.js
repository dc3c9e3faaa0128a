// Signed notes, checkpoints, cosignatures and trust policies of C2SP, with the browser's own Ed25519.

import { Malformed, base64, concat, decimal, hex, need, same, sha256, text, utf8 } from "./bytes.js";
import { Finding } from "./finding.js";

const SIGNS_NOTES = 1;
const COSIGNS = 4;

/** Points of small order: a key or nonce among them lets one signature hold for many messages. */
const SMALL_ORDER = new Set([
  // The two that say x = 0 with a sign.
  "0100000000000000000000000000000000000000000000000000000000000080",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0000000000000000000000000000000000000000000000000000000000000080",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]);

/** Whether this browser can check signatures at all. */
export async function canVerify() {
  try {
    await crypto.subtle.importKey("raw", new Uint8Array(32).fill(9), "Ed25519", false, ["verify"]);
    return true;
  } catch (error) {
    // A browser that knows the algorithm may refuse the key; one that does not names the algorithm.
    return globalThis.crypto?.subtle !== undefined && error.name === "DataError";
  }
}

async function signatureHolds(key, message, signature) {
  if (signature.length !== 64) return false;
  if ([key, signature.subarray(0, 32)].some((point) => SMALL_ORDER.has(hex(point)) || !isCanonical(point))) return false;
  try {
    const imported = await crypto.subtle.importKey("raw", key, "Ed25519", false, ["verify"]);
    return await crypto.subtle.verify("Ed25519", imported, signature, message);
  } catch {
    return false;
  }
}

/** Whether the coordinate is below 2^255 − 19 (RFC 8032 §5.1.3). */
const isCanonical = (point) =>
  point[0] < 0xed || (point[31] & 0x7f) !== 0x7f || point.subarray(1, 31).some((byte) => byte !== 0xff);

const isKeyName = (name) => name !== "" && !/[+\s\p{Cc}]/u.test(name);

/** `name+hex(key id)+base64(type ‖ public key)`. */
export async function readVerifierKey(vkey) {
  const [name, id, ...rest] = vkey.split("+");
  need(id !== undefined && rest.length > 0 && isKeyName(name));
  const key = await verifierKey(name, base64(rest.join("+")));
  need(hex(key.id) === id);
  return key;
}

/** A key from its name and the bytes that leaves name it by: type and public key. */
export async function verifierKey(name, typed) {
  need(typed.length === 33 && (typed[0] === SIGNS_NOTES || typed[0] === COSIGNS));
  const id = (await sha256(utf8(`${name}\n`), typed)).subarray(0, 4);
  return { name, id, kind: typed[0], public: typed.subarray(1) };
}

export function readNote(bytes) {
  need(bytes.length <= 65536);
  const note = text(bytes);
  need(!/[^\P{Cc}\n]/u.test(note));
  const parted = note.lastIndexOf("\n\n");
  need(parted >= 0 && note.endsWith("\n"));
  const body = note.slice(0, parted + 1);
  need(note.length > parted + 3);
  const signatures = note.slice(parted + 2, -1).split("\n").map((line) => {
    const [dash, name, data, ...more] = line.split(" ");
    need(dash === "\u2014" && data !== undefined && more.length === 0 && isKeyName(name));
    const signature = base64(data);
    need(signature.length > 4);
    return { name, id: signature.subarray(0, 4), bytes: signature.subarray(4) };
  });
  need(signatures.length <= 32);
  const [origin, size, root, end, ...more] = body.split("\n");
  need(origin !== "" && root !== undefined && end === "" && more.length === 0);
  const checkpoint = { origin, size: decimal(size), root: base64(root) };
  need(checkpoint.root.length === 32);
  return { ...checkpoint, body, signatures };
}

/** Note, text, origin, signatures, in that order. Unknown signers are ignored; a known one that fails
 *  rejects the note, and so does a note that no known key of the log signed. */
export async function openCheckpoint(bytes, trust) {
  let note;
  try {
    note = readNote(bytes);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Finding("malformed", "checkpoint_unreadable");
  }
  if (!trust.logs.some((key) => key.name === note.origin)) throw new Finding("origin_mismatch", "checkpoint_of_another");
  const signers = [];
  const cosigned = new Map();
  const claims = (signature) => (key) => key.name === signature.name && same(key.id, signature.id);
  for (const signature of note.signatures) {
    const log = trust.logs.find(claims(signature));
    const witness = [...trust.witnesses].find(([, key]) => claims(signature)(key));
    let holds = true;
    if (log) {
      holds = log.name === note.origin && (await signatureHolds(log.public, utf8(note.body), signature.bytes));
      signers.push(log);
    } else if (witness) {
      need(signature.bytes.length >= 8);
      const seconds = signature.bytes.subarray(0, 8).reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
      const message = utf8(`cosignature/v1\ntime ${seconds}\n${note.body}`);
      holds = await signatureHolds(witness[1].public, message, signature.bytes.subarray(8));
      cosigned.set(witness[0], Number(seconds));
    }
    if (!holds) throw new Finding("checkpoint_signature", "signature_fails");
  }
  if (signers.length === 0) throw new Finding("checkpoint_signature", "no_signature");
  return { ...note, signers, cosigned };
}

/** A tlog-policy: which logs, which witnesses, and how many of them. */
export async function readTrust(policy) {
  const trust = { logs: [], witnesses: new Map(), groups: new Map(), quorum: undefined };
  const isKnown = (name) => trust.witnesses.has(name) || trust.groups.has(name);
  const isFree = (name) => !["none", "any", "all"].includes(name) && !isKnown(name);
  for (const line of policy.split(/\r?\n/)) {
    const [verb, ...words] = line.trim().split(/[ \t]+/);
    if (verb === "" || verb.startsWith("#")) continue;
    if (verb === "log" && (words.length === 1 || words.length === 2)) {
      const key = await readVerifierKey(words[0]);
      need(key.kind === SIGNS_NOTES);
      trust.logs.push(key);
    } else if (verb === "witness" && (words.length === 2 || words.length === 3)) {
      const key = await readVerifierKey(words[1]);
      need(key.kind === COSIGNS && isFree(words[0]));
      trust.witnesses.set(words[0], key);
    } else if (verb === "group" && words.length > 2) {
      const [name, threshold, ...members] = words;
      const least = { any: 1, all: members.length }[threshold] ?? decimal(threshold);
      need(isFree(name) && least > 0 && least <= members.length && members.every(isKnown));
      need(new Set(members).size === members.length);
      trust.groups.set(name, { least, members });
    } else if (verb === "quorum" && words.length === 1 && trust.quorum === undefined) {
      need(words[0] === "none" || isKnown(words[0]));
      trust.quorum = words[0];
    } else {
      throw new Malformed();
    }
  }
  need(trust.logs.length > 0 && trust.quorum !== undefined);
  return trust;
}

export const asksForQuorum = (trust) => trust.quorum !== "none";

export function isMet(trust, checkpoint) {
  const met = new Set(checkpoint.cosigned.keys());
  for (const [name, { least, members }] of trust.groups) {
    if (members.filter((member) => met.has(member)).length >= least) met.add(name);
  }
  return !asksForQuorum(trust) || met.has(trust.quorum);
}
