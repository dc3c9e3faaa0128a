// A leaf's number alone: its hash and its inclusion, from the public tiles of this gateway.

import { Malformed, hex, need, same } from "./bytes.js";
import { Finding, NoVerdict } from "./finding.js";
import { isMet, openCheckpoint, readNote } from "./note.js";
import { attest } from "./single.js";
import { Tree, hashesAt, rootOf, splitHashes, tilePath } from "./tree.js";

export async function judgeNumber(index, own, report, prefix) {
  const note = await fetched(`${prefix}/checkpoint`);
  const checkpoint = own ? await openCheckpoint(note, own) : readNote(note);
  Object.assign(report.said, { origin: checkpoint.origin, size: checkpoint.size, seq: index });
  if (own) report.checked.push("signed");
  if (index >= checkpoint.size) throw new NoVerdict("beyond_size");

  const edge = await rightEdge(checkpoint.size, prefix);
  const tree = new Tree();
  for (const { level, hashes } of edge.toReversed()) {
    for (const hash of hashes) await tree.append(hash, 256 ** level);
  }
  if (!same(await tree.root(), checkpoint.root)) throw new Finding("root_mismatch", "tiles_differ");
  report.said.hash = hex(await climb(index, checkpoint.size, edge, prefix));
  report.checked.push("included");
  if (own) attest(own, true, isMet(own, checkpoint), report);
  else report.findings.push(new Finding("unwitnessed", "signature_unchecked"));
}

/** The partial tiles at the right edge: together they are the whole tree. */
async function rightEdge(size, prefix) {
  const edge = [];
  for (let level = 0; hashesAt(level, size) > 0; level += 1) {
    const width = hashesAt(level, size) % 256;
    const index = Math.floor(hashesAt(level, size) / 256);
    const hashes = width === 0 ? [] : await tile(level, index, width, prefix);
    edge.push({ level, index, hashes });
  }
  return edge;
}

/** From the leaf up: each full tile must be what the tile above it says, until the edge is reached. */
async function climb(index, size, edge, prefix) {
  let found;
  let below;
  let at = index;
  for (const { level, index: last, hashes } of edge) {
    const tileIndex = Math.floor(at / 256);
    const here = tileIndex === last ? hashes : await tile(level, tileIndex, 256, prefix);
    need(at % 256 < here.length);
    const hash = here[at % 256];
    if (level === 0) found = hash;
    else if (!same(hash, below)) throw new Finding("root_mismatch", "tiles_differ", index);
    if (tileIndex === last) return found;
    below = await rootOf(here);
    at = tileIndex;
  }
  throw new Malformed();
}

async function tile(level, index, width, prefix) {
  const hashes = splitHashes(await fetched(`${prefix}/${tilePath(level, index, width)}`));
  need(hashes.length === width);
  return hashes;
}

async function fetched(path) {
  let answer;
  try {
    answer = await fetch(path);
  } catch {
    throw new NoVerdict("not_reachable");
  }
  if (!answer.ok) throw new NoVerdict("not_reachable");
  return new Uint8Array(await answer.arrayBuffer());
}
