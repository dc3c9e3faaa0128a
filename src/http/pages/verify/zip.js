// Reads a zip file: stored and deflated members, by its central directory.

import { need, text } from "./bytes.js";

const END = 0x06054b50;
const MEMBER = 0x02014b50;
const LOCAL = 0x04034b50;
const MAXIMUM_FILES = 1_000_000;
/** A browser's page cannot hold the 4 GiB that the command line reads. */
const MAXIMUM_BYTES = 512 * 1024 * 1024;

/** A map from path to a function that gives the bytes. */
export function readZip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  need(end >= 0);
  while (view.getUint32(end, true) !== END) {
    end -= 1;
    need(end >= 0 && bytes.length - end < 66_000);
  }
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  need(count < 0xffff && at < bytes.length && count <= MAXIMUM_FILES);
  const files = new Map();
  let total = 0;
  for (let left = count; left > 0; left -= 1) {
    need(at + 46 <= bytes.length && view.getUint32(at, true) === MEMBER);
    const [method, packed, size] = [view.getUint16(at + 10, true), view.getUint32(at + 20, true), view.getUint32(at + 24, true)];
    const lengths = [28, 30, 32].map((field) => view.getUint16(at + field, true));
    const local = view.getUint32(at + 42, true);
    const name = text(bytes.subarray(at + 46, at + 46 + lengths[0]));
    at += 46 + lengths[0] + lengths[1] + lengths[2];
    total += size;
    need(total <= MAXIMUM_BYTES && isSafe(name) && !files.has(name));
    if (!name.endsWith("/")) files.set(name, () => unpack(bytes, view, local, method, packed, size));
  }
  return files;
}

const isSafe = (name) => !name.startsWith("/") && !name.includes("\\") && !name.split("/").includes("..");

async function unpack(bytes, view, at, method, packed, size) {
  need(at + 30 <= bytes.length && view.getUint32(at, true) === LOCAL && (method === 0 || method === 8));
  const start = at + 30 + view.getUint16(at + 26, true) + view.getUint16(at + 28, true);
  need(start + packed <= bytes.length);
  const data = bytes.subarray(start, start + packed);
  if (method === 0) {
    need(packed === size);
    return data;
  }
  const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const unpacked = new Uint8Array(size);
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read().catch(() => ({ value: null }));
    need(value !== null);
    if (done) break;
    // What unpacks to more than it says is not read on.
    need(length + value.length <= size);
    unpacked.set(value, length);
    length += value.length;
  }
  need(length === size);
  return unpacked;
}
