// The CloudEvents SDK for Node, unmodified, in binary and structured mode. It has no key of its
// own, so the key is a header; its transport does not tell the status, so the body does.

import { CloudEvent, emitterFor, httpTransport, Mode } from "cloudevents";

import { finish, gateway, person, within } from "./report.mjs";

const headers = { authorization: `Bearer ${gateway.writeKey}` };
const errors = [];
let sent = 0;
let succeeded = 0;
for (const mode of [Mode.BINARY, Mode.STRUCTURED]) {
  const emit = emitterFor(httpTransport(`${gateway.host}/v1/events`), { mode });
  for (const [type, data] of [
    ["shop.customer.updated", { email: person.email, name: person.name }],
    ["shop.order.placed", { order_id: `o-${mode}`, total: 19.9, currency: "EUR" }],
  ]) {
    sent += 1;
    try {
      const event = new CloudEvent({ type, source: "/shop", subject: person.userId, data });
      const answer = await within(30, emit(event, { headers }));
      if (JSON.parse(answer.body).success === true) succeeded += 1;
      else errors.push(`${mode} ${type}: ${JSON.parse(answer.body).code ?? "refused"}`);
    } catch (error) {
      errors.push(`${mode} ${type}: ${error.message}`);
    }
  }
}
finish("cloudevents", { sent, succeeded, errors });
