// RudderStack's Node SDK, unmodified; only `dataPlaneUrl` is changed. It sends gzip JSON labelled
// as a form.

import RudderAnalytics from "@rudderstack/rudder-sdk-node";

import { events, finish, gateway, person, within } from "./report.mjs";

const errors = [];
const analytics = new RudderAnalytics(gateway.writeKey, {
  dataPlaneUrl: gateway.host,
  logLevel: "error",
  errorHandler: (error) => errors.push(String(error.message)),
});

const { userId, anonymousId } = person;
let succeeded = 0;
const delivered = events.map(
  ({ type, ...event }) =>
    new Promise((resolve) => {
      analytics[type]({ userId, anonymousId, ...event }, (error) => {
        if (error) errors.push(String(error.message ?? error));
        else succeeded += 1;
        resolve();
      });
    }),
);
try {
  await within(60, analytics.flush());
  await within(60, Promise.all(delivered));
} catch (error) {
  errors.push(String(error.message));
}
finish("@rudderstack/rudder-sdk-node", { sent: events.length, succeeded, errors });
