// Segment's Node SDK, unmodified; only `host` is changed.

import { Analytics } from "@segment/analytics-node";

import { events, finish, gateway, person, within } from "./report.mjs";

const errors = [];
// Fewer tries than the SDK's own, for tests in which the gateway answers badly.
const retries = process.env.CLIENT_RETRIES ? { maxRetries: Number(process.env.CLIENT_RETRIES) } : {};
const analytics = new Analytics({
  host: gateway.host,
  writeKey: gateway.writeKey,
  ...retries,
});
analytics.on("error", (error) => errors.push(String(error.reason?.message ?? error.code)));

const { userId, anonymousId } = person;
const delivered = events.map(
  ({ type, ...event }) =>
    new Promise((resolve) => {
      analytics[type]({ userId, anonymousId, ...event }, (error, context) => {
        resolve(!error && !context?.failedDelivery());
      });
    }),
);
try {
  await within(60, analytics.flush({ timeout: 60_000 }));
  const outcomes = await within(60, Promise.all(delivered));
  finish("@segment/analytics-node", { sent: events.length, succeeded: outcomes.filter(Boolean).length, errors });
} catch (error) {
  finish("@segment/analytics-node", { sent: events.length, succeeded: 0, errors: [...errors, error.message] });
}
