// One leaf that somebody holds in a file: a `.tlog-proof`, or a receipt.

import { Malformed, base64, decimal, hex, need, text, utf8 } from "./bytes.js";
import { Finding } from "./finding.js";
import { isBound, payloadOf, readLeaf } from "./leaf.js";
import { asksForQuorum, isMet, openCheckpoint, readNote, readTrust } from "./note.js";
import { includes, leafHash } from "./tree.js";

export function readProof(proof) {
  const parted = proof.indexOf("\n\n");
  need(parted >= 0);
  const [header, ...lines] = proof.slice(0, parted).split("\n");
  need(header === "c2sp.org/tlog-proof@v1");
  const leaf = lines[0]?.startsWith("extra ") ? base64(lines.shift().slice(6)) : null;
  const index = lines.shift();
  need(index?.startsWith("index "));
  const hashes = lines.map(base64);
  need(hashes.length < 64 && hashes.every((hash) => hash.length === 32));
  return { leaf, index: decimal(index.slice(6)), hashes, note: utf8(proof.slice(parted + 2)) };
}

/** Adds to `report` what the leaf says; throws if it does not stand where the proof says. */
async function judgeLeaf(proof, checkpoint, report) {
  if (proof.leaf === null) throw new Finding("malformed", "no_leaf");
  const leaf = readLeaf(proof.leaf);
  if (leaf.refusal === "malformed") throw new Finding("malformed", "leaf_malformed", proof.index);
  if (leaf.refusal) report.findings.push(new Finding(leaf.refusal, leaf.refusal, proof.index));
  else if (leaf.seq !== proof.index) throw new Finding("leaf_altered", "leaf_elsewhere", proof.index);
  const hash = await leafHash(proof.leaf);
  if (!(await includes(proof.index, checkpoint.size, hash, proof.hashes, checkpoint.root))) {
    throw new Finding("root_mismatch", "not_included", proof.index);
  }
  Object.assign(report.said, { seq: proof.index, hash: hex(hash), time: leaf.time, event: leaf.rule?.name });
  report.checked.push("included");
  return leaf;
}

function begin(report, checkpoint) {
  Object.assign(report.said, { origin: checkpoint.origin, size: checkpoint.size });
}

/** `own` is the visitor's trust policy, if they brought one. */
export async function judgeProof(bytes, own, report) {
  const proof = readOr("proof_unreadable", () => readProof(text(bytes)));
  if (own) {
    const checkpoint = await openCheckpoint(proof.note, own);
    begin(report, checkpoint);
    report.checked.push("signed");
    await judgeLeaf(proof, checkpoint, report);
    attest(own, true, isMet(own, checkpoint), report);
    return;
  }
  const checkpoint = readOr("checkpoint_unreadable", () => readNote(proof.note));
  begin(report, checkpoint);
  await judgeLeaf(proof, checkpoint, report);
  report.findings.push(new Finding("unwitnessed", "signature_unchecked"));
}

export async function judgeReceipt(bytes, own, report) {
  const receipt = readOr("receipt_unreadable", () => readReceipt(bytes));
  let trust = own;
  if (!trust) {
    try {
      trust = await readTrust(receipt.trust);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      throw new Finding("malformed", "trust_unreadable");
    }
  }
  const proof = readOr("proof_unreadable", () => readProof(receipt.proof));
  const checkpoint = await openCheckpoint(proof.note, trust);
  begin(report, checkpoint);
  report.checked.push("signed");
  const leaf = await judgeLeaf(proof, checkpoint, report);
  if (leaf.refusal) return;
  await judgeParts(receipt, leaf, checkpoint.origin, report);
  attest(trust, Boolean(own), isMet(trust, checkpoint), report);
}

async function judgeParts(receipt, leaf, origin, report) {
  for (const part of receipt.opened) {
    if (await isBound(part, leaf, origin)) report.checked.push("opened");
    else report.findings.push(new Finding("part_unbound", "part_unbound", leaf.seq));
  }
  if (receipt.opened.length === 0) throw new Finding("malformed", "nothing_opened");
  const payload = readOr("payload_unreadable", () => payloadOf(receipt.opened.at(-1).plaintext));
  if (shows(payload, receipt.statement)) {
    report.checked.push("statement");
  } else {
    report.findings.push(new Finding("statement_differs", "statement_differs", leaf.seq));
  }
  // What is shown is what was committed to, never what the file says beside it.
  report.said.statement = payload;
}

export function readPart({ role, commit_key: key, plaintext, ...more }) {
  need(Number.isInteger(role) && typeof key === "string" && typeof plaintext === "string");
  need(Object.keys(more).length === 0);
  const part = { role, commitKey: base64(key), plaintext: base64(plaintext) };
  need(part.commitKey.length === 32);
  return part;
}

function readReceipt(bytes) {
  const receipt = readJson(bytes);
  const { format, trust, proof, opened, statement, ...more } = receipt;
  need(format === "amanat-receipt/1" && typeof trust === "string" && typeof proof === "string");
  need(Array.isArray(opened) && statement !== undefined && Object.keys(more).length === 0);
  return { trust, proof, opened: opened.map((part) => readPart(part ?? {})), statement };
}

/** JSON in which no key stands twice: a reader who sees the first of two members must not be told
 *  something else than a reader who sees the last. */
export function readJson(bytes) {
  const source = text(bytes);
  let value;
  try {
    value = JSON.parse(source);
  } catch {
    throw new Malformed();
  }
  need(typeof value === "object" && isShown(value) && countKeys(value) === countColons(source));
  return value;
}

/** What a payload can be shown as: no null, no number but whole ones from 0 on. */
function isShown(value) {
  if (typeof value === "number") return Number.isInteger(value) && value >= 0 && !Object.is(value, -0);
  return value !== null && (typeof value !== "object" || Object.values(value).every(isShown));
}

function countKeys(value) {
  if (value === null || typeof value !== "object") return 0;
  const own = Array.isArray(value) ? 0 : Object.keys(value).length;
  return Object.values(value).reduce((sum, member) => sum + countKeys(member), own);
}

const countColons = (source) => source.replace(/"(?:[^"\\]|\\.)*"/g, "").split(":").length - 1;

/** Whether JSON says exactly what a payload says; bytes are shown as hexadecimal digits. */
function shows(payload, shown) {
  if (payload instanceof Uint8Array) return shown === hex(payload);
  if (Array.isArray(payload)) {
    return Array.isArray(shown) && payload.length === shown.length && payload.every((item, at) => shows(item, shown[at]));
  }
  if (payload instanceof Map) {
    return shown !== null && typeof shown === "object" && !Array.isArray(shown)
      && Object.keys(shown).length === payload.size
      && [...payload].every(([key, value]) => Object.hasOwn(shown, key) && shows(value, shown[key]));
  }
  return payload === shown;
}

/** What follows from the quorum, and from whose word it is that the keys are right. */
export function attest(trust, isOwn, met, report) {
  if (isOwn && !met) report.findings.push(new Finding("downgrade", "quorum_missed"));
  else if (!isOwn) report.findings.push(new Finding("unwitnessed", "own_word"));
  else if (!asksForQuorum(trust)) report.findings.push(new Finding("unwitnessed", "no_quorum"));
  if (met && asksForQuorum(trust)) report.checked.push("witnessed");
}

/** Reads, or throws the finding that names what cannot be read. */
export function readOr(why, read) {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Finding("malformed", why);
  }
}
