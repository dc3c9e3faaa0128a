// The page that verifies, in a real browser: files are dropped on it, and it says what it finds.
//
//   node verify_page.mjs GATEWAY CASES
//
// CASES is a JSON file: [{ "name", "path", "trust"?, "verdict", "exit", "codes"? }]. One line of JSON comes
// back: what was wrong. SCREENSHOTS names a folder for pictures of the page, if anybody wants to look.

import { readFileSync } from "node:fs";

import { chromium } from "playwright-core";

const [, , gateway, cases] = process.argv;
const wrong = [];
const expect = (what, found, wanted) => {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) wrong.push(`${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  // Chromium's sandbox cannot be had by root.
  args: process.getuid() === 0 ? ["--no-sandbox"] : [],
});
try {
  const context = await browser.newContext({ locale: "en-GB" });
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && wrong.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(`${gateway}/`)) wrong.push(`the page asks another host: ${request.url()}`);
  });
  await page.goto(`${gateway}/verify`);
  await page.waitForSelector("html[data-ready]", { timeout: 20_000 });
  await checkVectors(page);
  await checkFiles(context, page);
  await checkNumbers(page);
  await checkPage(page);
} catch (error) {
  wrong.push(String(error.message));
} finally {
  await browser.close();
}
console.log(JSON.stringify(wrong));
process.exit(wrong.length === 0 ? 0 : 1);

/** The page's own modules, against the vectors that every verifier is held against. */
async function checkVectors(page) {
  const vectors = JSON.parse(readFileSync(new URL("../vectors/audit.json", import.meta.url), "utf8"));
  const found = await page.evaluate(async ({ malformed_leaves: leaves, malformed_checkpoints: notes, amanat_log: log, rfc6962 }) => {
    const { readLeaf } = await import("/verify/leaf.js");
    const { openCheckpoint, readVerifierKey } = await import("/verify/note.js");
    const { includes } = await import("/verify/tree.js");
    const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
    const witnesses = new Map([["w", await readVerifierKey(log.witness_vkey)]]);
    const trust = { logs: [await readVerifierKey(log.log_vkey)], witnesses, groups: new Map(), quorum: "w" };
    const open = (note) => openCheckpoint(new TextEncoder().encode(note), trust).then(() => "accepted", (error) => error.code);
    const found = [];
    const hold = (why, said, wanted) => said === wanted || found.push(`${why}: ${said}, not ${wanted}`);
    for (const { why, leaf, finding } of leaves.cases) hold(why, readLeaf(bytes(leaf)).refusal, finding);
    for (const { seq, leaf } of log.leaves) hold(`leaf ${seq}`, readLeaf(bytes(leaf)).refusal, undefined);
    for (const { why, checkpoint, finding } of notes.refused) hold(why, await open(checkpoint), finding);
    for (const { why, checkpoint } of notes.accepted) hold(why, await open(checkpoint), "accepted");
    for (const { index, size, proof } of rfc6962.inclusion) {
      const hash = bytes(rfc6962.leaf_hashes[index]);
      hold("inclusion", await includes(index, size, hash, proof.map(bytes), bytes(rfc6962.roots[size])), true);
    }
    for (const { kind, why, index, size, leaf_hash: hash, root, proof } of rfc6962.invalid) {
      if (kind === "inclusion") hold(why, await includes(index, size, bytes(hash), proof.map(bytes), bytes(root)), false);
    }
    return found;
  }, vectors);
  wrong.push(...found);
}

/** Files are judged without any network. */
async function checkFiles(context, page) {
  await context.setOffline(true);
  for (const { name, path, trust = "", verdict, exit, codes } of JSON.parse(readFileSync(cases, "utf8"))) {
    await page.fill("#trust", trust);
    await drop(page, name, readFileSync(path));
    const said = await report(page);
    expect(`${name}: verdict`, [said.verdict, said.exit], [verdict, exit]);
    for (const code of codes ?? []) if (!said.codes.includes(code)) wrong.push(`${name}: no ${code} among ${said.codes}`);
    await picture(page, name);
  }
  await context.setOffline(false);
}

async function drop(page, name, bytes) {
  const transfer = await page.evaluateHandle(([name, base64]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))], name));
    return transfer;
  }, [name, bytes.toString("base64")]);
  await page.dispatchEvent("#drop", "drop", { dataTransfer: transfer });
}

/** What stands in the live region once the check is over. */
async function report(page) {
  await page.waitForSelector("#verdict .verdict", { timeout: 60_000 });
  return page.evaluate(() => {
    const { verdict, exit } = document.querySelector("#verdict .verdict").dataset;
    const codes = Array.from(document.querySelectorAll("[data-code]"), (line) => line.dataset.code);
    return { verdict, exit: Number(exit), codes, done: document.querySelectorAll(".done").length };
  });
}

/** An entry's number alone, from the public tiles; with the keyboard only. */
async function checkNumbers(page) {
  await page.fill("#trust", "");
  for (const number of ["99999999", "0", "300"]) {
    await page.focus("#number");
    await page.fill("#number", number);
    await page.keyboard.press("Enter");
    if (number === "99999999") {
      // A number that nobody gave out yet accuses nobody.
      await page.getByText("The log has fewer entries than that.").waitFor({ timeout: 20_000 });
      continue;
    }
    const said = await report(page);
    expect(`entry ${number}`, [said.verdict, said.done], ["not_attested", 1]);
    await picture(page, `entry-${number}`);
  }
}

/** Languages, directions, and that every field has a name. */
async function checkPage(page) {
  for (const [language, direction] of [["de", "ltr"], ["fr", "ltr"], ["ar", "rtl"], ["fa", "rtl"], ["en", "ltr"]]) {
    await page.selectOption("#language", language);
    const said = await page.evaluate(() => ({
      direction: getComputedStyle(document.body).direction,
      language: document.documentElement.lang,
      untranslated: document.body.innerText.match(/\b(why|means|verdict|checked|fact)_[a-z_]+/g),
    }));
    expect(language, said, { direction, language, untranslated: null });
    await picture(page, `language-${language}`);
  }
  await page.emulateMedia({ colorScheme: "dark" });
  await picture(page, "dark");
  const nameless = await page.evaluate(() =>
    Array.from(document.querySelectorAll("input, select, textarea")).filter((field) => !field.labels?.length).map((field) => field.id));
  expect("fields without a label", nameless, []);
  expect("the live region", await page.getAttribute("#verdict", "role"), "status");
}

async function picture(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png`, fullPage: true });
}
