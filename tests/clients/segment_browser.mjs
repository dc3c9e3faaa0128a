// Segment's browser SDK, unmodified, in a real browser; only `cdnURL` and `apiHost` are changed.
//
// The page lives at PAGE_ORIGIN, `http://shop.example` by default: the browser is told that this
// name is a small server here, so that the origin is the same in each run. Nothing is intercepted,
// for then the browser would send no preflights. The browser is CHROMIUM, or Debian's.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { setTimeout } from "node:timers/promises";

import { chromium } from "playwright-core";

import { events, finish, gateway, person, within } from "./report.mjs";

const origin = process.env.PAGE_ORIGIN ?? "http://shop.example";
const bundle = readFileSync(new URL("./node_modules/@segment/analytics-next/dist/umd/index.js", import.meta.url), "utf8");
const html = '<!doctype html><title>Shop</title><script src="/analytics.js"></script>';

const shop = createServer((request, answer) => {
  const script = request.url === "/analytics.js";
  answer.writeHead(200, { "content-type": script ? "text/javascript" : "text/html; charset=utf-8" });
  answer.end(script ? bundle : html);
});
shop.listen(0, "127.0.0.1");
await once(shop, "listening");

const errors = [];
let succeeded = 0;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    `--host-resolver-rules=MAP ${new URL(origin).host} 127.0.0.1:${shop.address().port}`,
    // Chromium's sandbox cannot be had by root.
    ...(process.getuid() === 0 ? ["--no-sandbox"] : []),
  ],
});
try {
  const page = await browser.newPage();
  const sends = ["/v1/i", "/v1/t", "/v1/p", "/v1/s", "/v1/g"].map((path) => gateway.host + path);
  page.on("response", (response) => {
    if (!sends.includes(response.url()) || response.request().method() !== "POST") return;
    if (response.ok()) succeeded += 1;
    else errors.push(`${response.status()} ${new URL(response.url()).pathname}`);
  });
  page.on("requestfailed", (request) => errors.push(`${request.failure()?.errorText} ${new URL(request.url()).pathname}`));
  await page.goto(`${origin}/`);
  const { protocol, host } = new URL(gateway.host);
  const settings = { ...gateway, apiHost: `${host}/v1`, protocol: protocol.replace(":", ""), person, events };
  await within(60, page.evaluate(sendAll, settings));
  // Not `networkidle`: the page reads no bodies, and Chromium takes an unread answer that may not be
  // stored for one that is still coming.
  const deadline = Date.now() + 30_000;
  while (succeeded < events.length && Date.now() < deadline) await setTimeout(50);
} catch (error) {
  errors.push(String(error.message));
} finally {
  await browser.close();
  shop.close();
}
finish("@segment/analytics-next", { sent: events.length, succeeded, errors });

/** Runs in the page. */
async function sendAll({ host, writeKey, apiHost, protocol, person, events }) {
  const analytics = globalThis.AnalyticsNext.AnalyticsBrowser.load(
    { writeKey, cdnURL: host },
    { integrations: { "Segment.io": { apiHost, protocol } } },
  );
  await analytics.setAnonymousId(person.anonymousId);
  for (const event of events) {
    if (event.type === "identify") await analytics.identify(person.userId, event.traits);
    if (event.type === "track") await analytics.track(event.event, event.properties);
    if (event.type === "page") await analytics.page(event.name, event.properties);
    if (event.type === "screen") await analytics.screen(event.name, event.properties);
    if (event.type === "group") await analytics.group(event.groupId, event.traits);
  }
}
