// The page: takes a file, a number and a trust file, and shows what comes of it.

import { Malformed, text } from "./bytes.js";
import { judgeBundle } from "./bundle.js";
import { Finding, NoVerdict } from "./finding.js";
import { learnEvents } from "./leaf.js";
import { judgeNumber } from "./lookup.js";
import { canVerify, readTrust } from "./note.js";
import { showProgress, showReport } from "./show.js";
import { judgeProof, judgeReceipt } from "./single.js";
import { LANGUAGES, chooseLanguage, say, translatePage } from "./text.js";

const at = (id) => document.getElementById(id);
const places = [at("verdict"), at("details")];

let last = null;
let turn = 0;
/** Everything a check needs is loaded with the page, so that it works offline afterwards. */
const ready = prepare();

async function prepare() {
  offerLanguages();
  if (!globalThis.crypto?.subtle) return complain("unable_insecure");
  if (!(await canVerify())) return complain("unable_ed25519");
  const answer = await fetch("/verify/events.json").catch(() => null);
  if (!answer?.ok) return complain("unable_events");
  learnEvents(await answer.json());
  document.documentElement.dataset.ready = "yes";
  return true;
}

function complain(why) {
  at("unable").textContent = say(why);
  at("unable").dataset.text = why;
  at("unable").hidden = false;
  return false;
}

function offerLanguages() {
  at("language").replaceChildren(...LANGUAGES.map(([tag, name]) => new Option(name, tag)));
  at("language").value = chooseLanguage();
  translatePage();
}

/** Judges and shows. Of two that overlap, the later one is shown. */
async function check(name, judge) {
  turn += 1;
  const mine = turn;
  const show = (sentence) => mine === turn && showProgress(sentence, ...places);
  show(say("checking"));
  if (!(await ready)) return show(say(at("unable").dataset.text));
  const report = { name, checked: [], findings: [], said: {} };
  try {
    await judge(await ownTrust(), report, (done, total) => show(`${say("checking")} ${done} / ${total}`));
  } catch (error) {
    if (error instanceof Finding) report.findings.push(error);
    else if (error instanceof NoVerdict) return show(say(`why_${error.why}`));
    else if (error instanceof Malformed) report.findings.push(new Finding("malformed", "unreadable"));
    else throw error;
  }
  if (mine !== turn) return undefined;
  last = report;
  return showReport(report, ...places);
}

async function ownTrust() {
  const policy = at("trust").value.trim();
  if (policy === "") return null;
  try {
    return await readTrust(policy);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Finding("malformed", "own_trust_unreadable");
  }
}

/** What a file is, is said by its first bytes and never by its name. */
async function judgeFile(file, own, report, progress) {
  if (file.size > 512 * 1024 * 1024) throw new Finding("malformed", "too_large");
  const bytes = new Uint8Array(await file.arrayBuffer());
  const begins = (...start) => start.every((byte, index) => bytes[index] === byte);
  if (begins(0x50, 0x4b)) return judgeBundle(bytes, own, report, progress);
  if (begins(0x7b)) return judgeReceipt(bytes, own, report);
  return judgeProof(bytes, own, report);
}

const checkFile = (file) => file && check(file.name, (...with_) => judgeFile(file, ...with_));

at("file").addEventListener("change", (event) => checkFile(event.target.files[0]));
at("number-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const index = Number(at("number").value);
  check(null, (own, report) => judgeNumber(index, own, report, "/log"));
});
at("trust-file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (file && file.size < 1 << 20) at("trust").value = text(new Uint8Array(await file.arrayBuffer()));
});
at("language").addEventListener("change", (event) => {
  chooseLanguage(event.target.value);
  translatePage();
  if (last) showReport(last, ...places);
});

// A file may be let go anywhere on the page; the browser would else leave the page for it.
addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
addEventListener("dragleave", () => at("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (event.target === at("trust")) file?.text().then((policy) => { at("trust").value = policy; });
  else checkFile(file);
});
