// Puts a report on the page. Nothing from a file becomes markup: it is all text.

import { hex } from "./bytes.js";
import { verdictOf } from "./finding.js";
import { say } from "./text.js";

const element = (name, content, attributes = {}) => {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...[content].flat());
  return made;
};

/** A piece of the file itself: its direction is its own. */
const quoted = (content, name = "bdi") => element(name, String(content));

export function showReport(report, verdictPlace, detailsPlace) {
  const { verdict, exit } = verdictOf(report.findings);
  const words = [
    element("strong", say(`verdict_${verdict}`)),
    element("span", say(`means_${verdict}`)),
    " ",
    element("code", `${verdict} (${exit})`, { dir: "ltr" }),
  ];
  const shown = element("p", words, { className: `verdict ${verdict}` });
  shown.dataset.verdict = verdict;
  shown.dataset.exit = exit;
  verdictPlace.replaceChildren(shown);
  detailsPlace.replaceChildren(...details(report));
}

export function showProgress(sentence, verdictPlace, detailsPlace) {
  verdictPlace.replaceChildren(element("p", sentence));
  detailsPlace.replaceChildren();
}

function* details(report) {
  // What is not complete is said before anything else.
  if (report.said.statement instanceof Map && report.said.statement.get("completeness") === "partial") {
    yield element("p", element("strong", say("partial")), { className: "fault" });
  }
  if (report.name) yield element("p", [say("checked_file"), " ", quoted(report.name)]);
  const done = [...new Set(report.checked)];
  if (done.length > 0) {
    yield element("h3", say("was_checked"));
    yield element("ul", done.map((what) => element("li", say(`checked_${what}`), { className: "done" })));
  }
  if (report.findings.length > 0) {
    yield element("h3", say("was_found"));
    yield element("ul", report.findings.slice(0, 200).map(findingLine));
  }
  const facts = factsOf(report.said);
  if (facts.length > 0) yield element("dl", facts.flat());
  if (report.said.statement !== undefined) {
    yield element("h3", say("statement"));
    yield payload(report.said.statement);
  }
  for (const opened of report.said.opened ?? []) {
    yield element("h3", [say("entry"), " ", quoted(opened.seq)]);
    yield payload(opened.payload);
  }
}

function findingLine(finding) {
  const isNote = finding.severity === "not_attested" || finding.severity === "warning";
  const place = finding.seq === undefined ? [] : [say("entry"), " ", quoted(finding.seq), ": "];
  const line = element("li", [...place, say(`why_${finding.why}`), " ", element("code", finding.code, { dir: "ltr" })]);
  line.className = isNote ? "note" : "fault";
  line.dataset.code = finding.code;
  return line;
}

function factsOf({ origin, size, seq, hash, event, time, entries }) {
  const date = Number.isSafeInteger(time) && time > 0 ? new Date(time / 1000) : null;
  const rows = [
    ["origin", origin], ["size", size], ["entry", seq], ["entries", entries], ["event", event],
    ["time", date && date.toLocaleString(document.documentElement.lang, { dateStyle: "long", timeStyle: "long", timeZone: "UTC" })],
    ["hash", hash],
  ];
  return rows
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => [element("dt", say(`fact_${name}`)), element("dd", quoted(value))]);
}

/** A payload as a list of what it says; bytes as hexadecimal digits. */
function payload(value) {
  if (value instanceof Map) {
    return element("dl", [...value].flatMap(([key, member]) => [element("dt", quoted(key)), element("dd", payload(member))]));
  }
  if (Array.isArray(value) && value.length === 0) return element("span", say("none"));
  if (Array.isArray(value)) return element("ul", value.map((item) => element("li", payload(item))));
  return value instanceof Uint8Array ? quoted(hex(value), "code") : quoted(value);
}
