//! Real-looking traffic for the tour: people who do not exist, events as SDKs send them.

use serde_json::{Value, json};

/// A customer of the tour.
pub(super) struct Customer {
    /// The shop's id of them.
    pub(super) user: &'static str,
    /// The id of their browser.
    pub(super) browser: &'static str,
    /// Their address.
    pub(super) email: &'static str,
    /// First and last name, in their own script.
    pub(super) name: (&'static str, &'static str),
    /// Whether the banner was told that analytics and advertising are fine.
    pub(super) agrees: (bool, bool),
}

/// The customers of the tour.
pub(super) const CUSTOMERS: [Customer; 4] = [
    Customer {
        user: "u-1001",
        browser: "b-71f0",
        email: "anna.berg@example.org",
        name: ("Anna", "Berg"),
        agrees: (true, true),
    },
    Customer {
        user: "u-1002",
        browser: "b-88a2",
        email: "ali.rahimi@example.org",
        name: ("علی", "رحیمی"),
        agrees: (true, false),
    },
    Customer {
        user: "u-1003",
        browser: "b-1c55",
        email: "leila.haddad@example.org",
        name: ("ليلى", "حداد"),
        agrees: (false, false),
    },
    Customer {
        user: "u-1004",
        browser: "b-90de",
        email: "jean.petit@example.org",
        name: ("Jean", "Petit"),
        agrees: (true, true),
    },
];

/// A browser's batch before anybody signs in: pages, and what the banner was told.
pub(super) fn browsing(customer: &Customer, key: &str) -> Value {
    let (analytics, advertising) = customer.agrees;
    let consent = json!({ "categoryPreferences": { "Analytics": analytics, "Advertising": advertising } });
    json!({ "writeKey": key, "batch": [
        { "type": "track", "event": "Segment Consent Preference Updated", "anonymousId": customer.browser,
          "messageId": format!("{}-c", customer.browser), "context": { "consent": consent } },
        { "type": "page", "anonymousId": customer.browser, "messageId": format!("{}-p", customer.browser),
          "properties": { "url": "https://shop.example/lamps", "path": "/lamps", "title": "Lamps" },
          "context": { "consent": consent, "ip": "192.0.2.17", "page": { "url": "https://shop.example/lamps", "path": "/lamps" } } },
    ] })
}

/// A server's batch when somebody buys: who they are, and the order.
pub(super) fn buying(customer: &Customer, number: usize) -> Value {
    let (first, last) = customer.name;
    json!({ "batch": [
        { "type": "identify", "userId": customer.user, "anonymousId": customer.browser, "messageId": format!("{}-i", customer.user),
          "traits": { "email": customer.email, "firstName": first, "lastName": last, "phone": format!("+49 30 5550{number:03}"),
                      "address": { "street": "Lange Gasse 5", "postalCode": "10115", "city": "Berlin", "country": "DE" },
                      "favouriteColour": "green" } },
        { "type": "track", "event": "Order Completed", "userId": customer.user, "anonymousId": customer.browser,
          "messageId": format!("{}-o", customer.user),
          "properties": { "order_id": format!("2026-{number:04}"), "sku": "LAMP-7", "quantity": 1, "total": 89.90, "currency": "EUR" } },
    ] })
}

/// Yes to the newsletter, as a sign-up form records it.
pub(super) fn newsletter(customer: &Customer, action: &str, notice: Option<&Value>, now: &str) -> Value {
    let mut body = json!({
        "identifiers": [{ "kind": "email", "value": customer.email }],
        "actor": { "relation": "self" },
        "choices": [{ "purpose": "newsletter", "channel": "email", "action": action }],
        "act": { "method": "click", "control_before": "unset", "bundled": false, "refusal_offered": true,
                 "given_at": now, "interface": "sign-up form 12" },
    });
    if let (Some(notice), Some(members)) = (notice, body.as_object_mut()) {
        members.insert("notice".to_owned(), notice.clone());
    }
    body
}
