// The Merkle tree of RFC 6962, its inclusion proofs, and the names of tiles (C2SP tlog-tiles).

import { need, same, sha256 } from "./bytes.js";

export const leafHash = (leaf) => sha256(Uint8Array.of(0), leaf);
export const nodeHash = (left, right) => sha256(Uint8Array.of(1), left, right);

/** A tree that grows: the roots of the perfect trees it is made of, the largest first. */
export class Tree {
  size = 0;
  #peaks = [];

  async append(root, leaves = 1) {
    this.size += leaves;
    let peak = { root, leaves };
    while (this.#peaks.at(-1)?.leaves === peak.leaves) {
      const left = this.#peaks.pop();
      peak = { root: await nodeHash(left.root, peak.root), leaves: peak.leaves * 2 };
    }
    this.#peaks.push(peak);
  }

  async root() {
    let root = null;
    for (const peak of this.#peaks.toReversed()) root = root === null ? peak.root : await nodeHash(peak.root, root);
    return root ?? sha256();
  }
}

export async function rootOf(hashes) {
  const tree = new Tree();
  for (const hash of hashes) await tree.append(hash);
  return tree.root();
}

/** RFC 9162 §2.1.3.2. */
export async function includes(index, size, hash, proof, root) {
  if (index >= size) return false;
  let [first, last, soFar] = [BigInt(index), BigInt(size) - 1n, hash];
  for (const step of proof) {
    if (last === 0n) return false;
    if (first & 1n || first === last) {
      soFar = await nodeHash(step, soFar);
      while (!(first & 1n) && first !== 0n) [first, last] = [first >> 1n, last >> 1n];
    } else {
      soFar = await nodeHash(soFar, step);
    }
    [first, last] = [first >> 1n, last >> 1n];
  }
  return last === 0n && same(soFar, root);
}

/** The path of a tile behind the prefix of the log. `kind` is a level or `entries`. */
export function tilePath(kind, index, width = 256) {
  const digits = String(index);
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, "0").match(/.{3}/g);
  const path = groups.map((group, at) => (at + 1 < groups.length ? `x${group}` : group)).join("/");
  return `tile/${kind}/${path}${width === 256 ? "" : `.p/${width}`}`;
}

/** How many hashes a tree of this size has at a level. */
export const hashesAt = (level, size) => Math.floor(size / 256 ** level);

export function splitHashes(tile) {
  need(tile.length % 32 === 0);
  return Array.from({ length: tile.length / 32 }, (_, at) => tile.subarray(at * 32, at * 32 + 32));
}
