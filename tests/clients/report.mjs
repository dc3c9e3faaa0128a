// What every driver is told, and what it says in the end: one line of JSON, and an exit code.
//
//   node DRIVER.mjs HOST WRITE_KEY
//
// HOST is the gateway, `http://127.0.0.1:8080`. Personal values come from the environment, so that
// the tests can search for them: CANARY_USER_ID, CANARY_ANONYMOUS_ID, CANARY_EMAIL, CANARY_NAME.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [, , host, writeKey] = process.argv;
if (!host || !writeKey) {
  console.error("usage: node DRIVER.mjs HOST WRITE_KEY");
  process.exit(2);
}

export const gateway = { host: host.replace(/\/+$/, ""), writeKey };

export const person = {
  userId: process.env.CANARY_USER_ID ?? "canary-user-1",
  anonymousId: process.env.CANARY_ANONYMOUS_ID ?? "canary-anonymous-1",
  email: process.env.CANARY_EMAIL ?? "canary@example.org",
  name: process.env.CANARY_NAME ?? "Canary Example",
};

/** The events that every driver sends, with the person's values in their places. */
export const events = JSON.parse(readFileSync(new URL("./events.json", import.meta.url), "utf8"), (_, value) =>
  typeof value === "string" ? value.replace("{email}", person.email).replace("{name}", person.name) : value,
);

/** The version of a package that is really installed. */
export function versionOf(packageName) {
  const path = new URL(`./node_modules/${packageName}/package.json`, import.meta.url);
  return createRequire(import.meta.url)(path.pathname).version;
}

/** Says what the SDK reported; the exit code is 0 only if it reported no failure. */
export function finish(client, { sent, succeeded, errors }) {
  const report = { client, version: versionOf(client), sent, succeeded, errors };
  console.log(JSON.stringify(report));
  process.exit(errors.length === 0 && succeeded === sent ? 0 : 1);
}

/** Fails loudly instead of waiting for ever. */
export function within(seconds, work) {
  const late = new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`not finished within ${seconds} s`)), seconds * 1000).unref();
  });
  return Promise.race([work, late]);
}
