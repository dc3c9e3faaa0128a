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
  for (const [number, verdict] of [["0", "not_attested"], ["300", "not_attested"], ["99999999", "forked"]]) {
    await page.focus("#number");
    await page.fill("#number", number);
    await page.keyboard.press("Enter");
    const said = await report(page);
    expect(`entry ${number}`, said.verdict, verdict);
    if (verdict === "not_attested") expect(`entry ${number}: checked`, said.done, 1);
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
  const nameless = await page.evaluate(() =>
    Array.from(document.querySelectorAll("input, select, textarea")).filter((field) => !field.labels?.length).map((field) => field.id));
  expect("fields without a label", nameless, []);
  expect("the live region", await page.getAttribute("#verdict", "role"), "status");
}

async function picture(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png`, fullPage: true });
}
