// The log's lines as other systems read them: a parser of RFC 5424 and CEF, the CloudEvents SDK, the
// fields of the Elastic Common Schema.
//
//     node lines_node.mjs FOLDER
//
// FOLDER holds a file for each form and the same entries in our own form, `ndjson`. What a reader
// finds in a line must be what stands there.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { EcsFlat } from "@elastic/ecs";
import { HTTP } from "cloudevents";
import parse from "nsyslog-parser";

const folder = process.argv[2];
const lines = (form) => readFileSync(join(folder, form), "utf8").split("\n");
const plain = lines("ndjson").map((line) => JSON.parse(line));
const faults = [];

function expect(form, entry, found, wanted) {
  if (!isDeepStrictEqual(found, wanted)) {
    faults.push(`${form} ${entry.event}: ${JSON.stringify(found)} is not ${JSON.stringify(wanted)}`);
  }
}

function each(form, read) {
  const text = lines(form);
  expect(form, { event: "all" }, text.length, plain.length);
  plain.forEach((entry, at) => read(entry, text[at]));
}

const severities = { done: 6, unknown: 6, refused: 4, failed: 3 };

each("syslog", (entry, line) => {
  const { type, facilityval, levelval, appName, messageid, message, structuredData } = parse(line);
  expect("syslog", entry, { type, facilityval, levelval, appName, messageid, message }, {
    type: "RFC5424", facilityval: 13, levelval: severities[entry.outcome], appName: "amanat",
    messageid: entry.event, message: entry.event,
  });
  const [{ $id, seq, entry: id, leaf, outcome, class: kind }] = structuredData;
  expect("syslog", entry, { $id, seq, id, leaf, outcome, kind }, {
    $id: "amanat@32473", seq: String(entry.seq), id: entry.entry, leaf: entry.leaf_hash,
    outcome: entry.outcome, kind: entry.class,
  });
});

each("cef", (entry, line) => {
  // As it travels: behind the head of a syslog message.
  const { cef, fields } = parse(`<110>${line}`);
  expect("CEF", entry, [cef.name, cef.deviceEventClassID, fields.externalId, fields.outcome, fields.cs1, fields.cs3],
    [entry.event, String(entry.code), String(entry.seq), entry.outcome, entry.leaf_hash, entry.entry]);
});

each("cloudevents", (entry, line) => {
  const event = HTTP.toEvent({ headers: { "content-type": "application/cloudevents+json" }, body: line });
  event.validate();
  expect("CloudEvents", entry, [event.id, event.subject, event.amanatleaf], [entry.entry, String(entry.seq), entry.leaf_hash]);
  expect("CloudEvents", entry, event.data, entry);
});

/** Every member of an object under its dotted name; labels are free and stay together. */
const flat = (object, before = "") =>
  Object.entries(object).flatMap(([key, value]) => {
    const name = before + key;
    const isObject = typeof value === "object" && !Array.isArray(value) && name !== "labels";
    return isObject ? flat(value, `${name}.`) : [[name, value]];
  });

each("ecs", (entry, line) => {
  const { event, labels, ...rest } = JSON.parse(line);
  for (const [name, value] of flat({ event, labels, ...rest })) {
    const field = EcsFlat[name];
    if (!field) {
      faults.push(`ECS ${entry.event}: there is no field ${name}`);
      continue;
    }
    expect(`ECS ${name}`, entry, Array.isArray(value), (field.normalize ?? []).includes("array"));
    for (const one of [value].flat()) {
      const isAllowed = !field.allowed_values || field.allowed_values.some(({ name }) => name === one);
      expect(`ECS ${name} ${one}`, entry, isAllowed, true);
    }
  }
  const categories = EcsFlat["event.category"].allowed_values.filter(({ name }) => event.category.includes(name));
  expect("ECS types", entry, event.type.filter((type) => !categories[0].expected_event_types.includes(type)), []);
  expect("ECS", entry, [event.id, event.sequence, event.hash, labels.origin],
    [entry.entry, entry.seq, entry.leaf_hash, entry.origin]);
});

console.log(JSON.stringify({ lines: plain.length, faults: faults.slice(0, 10) }));
process.exit(faults.length || !plain.length ? 1 : 0);
