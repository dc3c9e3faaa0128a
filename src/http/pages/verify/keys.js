// Keys that hand over: whoever knows one key of a log learns those before and after it, because both
// sign the checkpoint right behind the leaf at which one hands over to the other.

import { Malformed, same } from "./bytes.js";
import { Finding } from "./finding.js";
import { readLeaf } from "./leaf.js";
import { openCheckpoint, readNote, verifierKey } from "./note.js";

const KEY_ROTATED = 104;
const SIGNS_NOTES = 1;
const [VERIFIER, REPLACED] = [9, 16];

/** The trust policy with the keys that the notes and leaves of a bundle teach. The leaves are hashed
 *  into the roots of these notes before anything is believed. */
export async function withLearntKeys(trust, notes, leaves) {
  const handovers = notes.flatMap((bytes) => handover(bytes, leaves)).toSorted((one, other) => one.size - other.size);
  const known = { ...trust, logs: [...trust.logs] };
  for (const { bytes, leaf, origin } of [...handovers, ...handovers.toReversed()]) {
    const both = await Promise.all([REPLACED, VERIFIER].map((fact) => verifierKey(origin, leaf.facts.get(fact))));
    const signers = await signersOf(bytes, known);
    const isIn = (keys) => (key) => keys.some((each) => same(each.id, key.id) && same(each.public, key.public));
    if (both.some(isIn(signers))) known.logs.push(...both.filter((key) => !isIn(known.logs)(key)));
  }
  return known;
}

/** A note and the last leaf under it, if that is one at which a key hands over. */
function handover(bytes, leaves) {
  try {
    const { origin, size } = readNote(bytes);
    const last = leaves.get(size - 1);
    const leaf = last && readLeaf(last);
    if (leaf?.event !== KEY_ROTATED || leaf.refusal || leaf.seq !== size - 1) return [];
    const areKeys = [REPLACED, VERIFIER].every((fact) => leaf.facts.get(fact)[0] === SIGNS_NOTES);
    return areKeys ? [{ bytes, leaf, origin, size }] : [];
  } catch (error) {
    if (error instanceof Malformed) return [];
    throw error;
  }
}

async function signersOf(bytes, trust) {
  try {
    return (await openCheckpoint(bytes, trust)).signers;
  } catch (error) {
    // What is wrong with it is told when it is read as a checkpoint.
    if (error instanceof Finding) return [];
    throw error;
  }
}
