// A bundle: every entry hashed again to the root, and held against every checkpoint in it.

import { Malformed, decimal, hex, need, same, sha256, text } from "./bytes.js";
import { Finding } from "./finding.js";
import { withLearntKeys } from "./keys.js";
import { isBound, payloadOf, readLeaf } from "./leaf.js";
import { asksForQuorum, isMet, openCheckpoint, readTrust } from "./note.js";
import { attest, readJson, readOr, readPart } from "./single.js";
import { Tree, leafHash, splitHashes, tilePath } from "./tree.js";
import { readZip } from "./zip.js";

export async function judgeBundle(bytes, own, report, progress) {
  const files = readOr("bundle_unreadable", () => readZip(bytes));
  const about = await readAbout(files, report);
  const hashes = await readHashes(files, about.size);
  const leaves = await readEntries(files, about, report);
  const notes = await readNotes(files);
  const trust = await withLearntKeys(own ?? (await claimedTrust(files)), notes, leaves);
  const checkpoints = await readCheckpoints(notes, trust, report);
  Object.assign(report.said, { origin: about.origin, size: about.size });

  await judgeEntries(leaves, hashes, about, report, progress);
  await judgeRoots(hashes, checkpoints, about, report);
  await judgeOpened(files, leaves, about, report);
  const newest = checkpoints.toSorted((one, other) => one.size - other.size).at(-1);
  if (!newest) report.findings.push(new Finding("unwitnessed", "no_checkpoint"));
  else attest(trust, Boolean(own), checkpoints.some((each) => isMet(trust, each)), report);
  if (newest && own && asksForQuorum(own) && isMet(own, newest) === false && checkpoints.some((each) => isMet(own, each))) {
    report.findings.push(new Finding("unwitnessed", "older_quorum"));
  }
}

const read = async (files, name) => {
  try {
    return await files.get(name)();
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Finding("malformed", "bundle_unreadable");
  }
};

async function readAbout(files, report) {
  if (!files.has("bundle.json")) throw new Finding("malformed", "bundle_unreadable");
  const source = await read(files, "bundle.json");
  const about = readOr("bundle_unreadable", () => {
    const value = readJson(source);
    need(value.format === "amanat-bundle/1" && typeof value.origin === "string" && typeof value.files === "object");
    for (const key of ["size", "from", "to"]) need(Number.isSafeInteger(value[key]) && value[key] >= 0);
    need(value.from <= value.to && value.to <= value.size);
    return value;
  });
  for (const [name, digest] of Object.entries(about.files)) {
    if (!files.has(name) || hex(await sha256(await read(files, name))) !== digest) {
      report.findings.push(new Finding("malformed", "file_differs"));
    }
  }
  for (const name of files.keys()) {
    if (name !== "bundle.json" && !Object.hasOwn(about.files, name)) {
      report.findings.push(new Finding("malformed", "file_unlisted"));
    }
  }
  return about;
}

async function claimedTrust(files) {
  if (!files.has("trust.txt")) throw new Finding("malformed", "trust_unreadable");
  try {
    return await readTrust(text(await read(files, "trust.txt")));
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Finding("malformed", "trust_unreadable");
  }
}

async function readNotes(files) {
  const names = [...files.keys()].filter((name) => name === "checkpoint" || name.startsWith("checkpoints/"));
  return Promise.all(names.map((name) => read(files, name)));
}

async function readCheckpoints(notes, trust, report) {
  const checkpoints = [];
  for (const note of notes) {
    try {
      checkpoints.push(await openCheckpoint(note, trust));
    } catch (error) {
      if (!(error instanceof Finding)) throw error;
      report.findings.push(error);
    }
  }
  if (checkpoints.length > 0) report.checked.push("signed");
  return checkpoints;
}

/** The level-0 tiles, for all sizes of the bundle. */
async function readHashes(files, size) {
  const hashes = [];
  while (hashes.length < size) {
    const width = Math.min(256, size - hashes.length);
    const name = tilePath(0, hashes.length / 256, width);
    if (!files.has(name)) throw new Finding("leaf_missing", "tile_missing", hashes.length);
    const tile = splitHashes(await read(files, name));
    if (tile.length !== width) throw new Finding("malformed", "bundle_unreadable", hashes.length);
    hashes.push(...tile);
  }
  return hashes;
}

async function readEntries(files, about, report) {
  const leaves = new Map();
  for (let index = Math.floor(about.from / 256); index * 256 < about.to; index += 1) {
    const width = Math.min(256, about.size - index * 256);
    const name = tilePath("entries", index, width);
    if (!files.has(name)) {
      report.findings.push(new Finding("leaf_missing", "tile_missing", Math.max(index * 256, about.from)));
      continue;
    }
    const bundle = await read(files, name);
    for (let at = 0, seq = index * 256; at < bundle.length; seq += 1) {
      const length = bundle[at] * 256 + (bundle[at + 1] ?? 0);
      if (at + 2 + length > bundle.length) throw new Finding("malformed", "bundle_unreadable", seq);
      leaves.set(seq, bundle.subarray(at + 2, at + 2 + length));
      at += 2 + length;
    }
  }
  return leaves;
}

async function judgeEntries(leaves, hashes, about, report, progress) {
  const entries = new Map();
  let [time, checked] = [0, 0];
  for (let seq = about.from; seq < about.to; seq += 1) {
    const bytes = leaves.get(seq);
    if (bytes === undefined) continue;
    const leaf = readLeaf(bytes);
    const hash = await leafHash(bytes);
    if (leaf.refusal) report.findings.push(new Finding(leaf.refusal, leaf.refusal === "malformed" ? "leaf_malformed" : leaf.refusal, seq));
    if (!same(hash, hashes[seq]) || (leaf.seq ?? seq) !== seq) {
      report.findings.push(new Finding("leaf_altered", "leaf_altered", seq));
    } else if (leaf.entry) {
      if (entries.has(hex(leaf.entry))) report.findings.push(new Finding("entry_repeated", "entry_repeated", seq));
      if (leaf.time < time && leaf.event !== 122) report.findings.push(new Finding("clock_backwards", "clock_backwards", seq));
      if (seq > 0 && !same(leaf.previous, hashes[seq - 1])) report.findings.push(new Finding("leaf_altered", "leaf_altered", seq));
      entries.set(hex(leaf.entry), seq);
      time = leaf.time;
    }
    checked += 1;
    if (checked % 256 === 0) progress(checked, about.to - about.from);
  }
  Object.assign(report.said, { entries: checked, time });
  report.checked.push("hashed");
}

/** Every checkpoint must be the root of the first so many hashes: then they are consistent with each other. */
async function judgeRoots(hashes, checkpoints, about, report) {
  const tree = new Tree();
  const inOrder = checkpoints.toSorted((one, other) => one.size - other.size);
  let fits = true;
  for (const checkpoint of inOrder) {
    if (checkpoint.origin !== about.origin) report.findings.push(new Finding("origin_mismatch", "checkpoint_of_another"));
    if (checkpoint.size > about.size) {
      report.findings.push(new Finding("rollback", "beyond_size", checkpoint.size));
      continue;
    }
    while (tree.size < checkpoint.size) await tree.append(hashes[tree.size]);
    if (!same(await tree.root(), checkpoint.root)) {
      report.findings.push(new Finding("root_mismatch", "root_mismatch", checkpoint.size));
      fits = false;
    }
  }
  if (fits && inOrder.length > 0) report.checked.push("consistent");
}

async function judgeOpened(files, leaves, about, report) {
  const byEntry = new Map();
  for (const bytes of leaves.values()) {
    const leaf = readLeaf(bytes);
    if (!leaf.refusal) byEntry.set(hex(leaf.entry), leaf);
  }
  report.said.opened = [];
  for (const name of files.keys()) {
    const sealed = /^sealed\/([0-9a-f]{32})\.([123])$/.exec(name);
    const opened = /^opened\/([0-9a-f]{32})\.([1-4])\.json$/.exec(name);
    if (!sealed && !opened) continue;
    const [, entry, role] = sealed ?? opened;
    const leaf = byEntry.get(entry);
    const named = leaf?.parts.find((part) => part.role === decimal(role));
    const bytes = await read(files, name);
    if (sealed) {
      const fits = named && same(await sha256(bytes), named.sealedHash);
      if (!fits) report.findings.push(new Finding("sealed_altered", "sealed_altered", leaf?.seq));
      continue;
    }
    const part = readOr("bundle_unreadable", () => readPart(readJson(bytes)));
    if (named && part.role === named.role && (await isBound(part, leaf, about.origin))) {
      report.checked.push("opened");
      report.said.opened.push({ seq: leaf.seq, payload: readOr("payload_unreadable", () => payloadOf(part.plaintext)) });
    } else {
      report.findings.push(new Finding("part_unbound", "part_unbound", leaf?.seq));
    }
  }
}
