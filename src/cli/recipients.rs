//! From the configuration's addresses to the ways of deliveries.

use crate::config::{Config, MessageFormat as Format, RecipientKind};
use crate::delivery::budget::Budget;
use crate::delivery::file::Rotation;
use crate::delivery::guard::{GuardRules, Network};
use crate::delivery::message::MessageFormat;
use crate::delivery::signing::SigningSecret;
use crate::delivery::webhook::WebhookSettings;
use crate::domain::id::RecipientId;
use crate::gateway::dispatch::{Carriers, RecipientAddress, Way};

use super::Failure;

/// The ways to every recipient that the configuration gives an address.
///
/// # Errors
/// An address, a secret or a folder that cannot be used, by its option.
pub(super) fn carriers(config: &Config) -> Result<Carriers, Failure> {
    let guard = guard(config)?;
    let mut addresses = Vec::with_capacity(config.recipients.len());
    for (id, recipient) in &config.recipients {
        let way = match recipient.kind {
            RecipientKind::Webhook => webhook(id, recipient, &guard)?,
            RecipientKind::File => Way::File {
                directory: recipient.directory.clone().unwrap_or_else(|| config.delivery.files.clone()),
                rotation: Rotation::default(),
            },
        };
        let budget = Budget {
            concurrent: u32::try_from(config.delivery.concurrency.get()).unwrap_or(u32::MAX),
            ..Budget::default()
        };
        addresses.push(RecipientAddress { recipient: id.clone(), way, budget });
    }
    Carriers::new(addresses).map_err(|error| Failure::with_exit(3, super::context::chain(&error)))
}

fn webhook(id: &RecipientId, recipient: &crate::config::Recipient, guard: &GuardRules) -> Result<Way, Failure> {
    let wrong = |what: String| Failure::with_exit(3, format!("recipients.{id}.{what}"));
    let url = recipient.url.as_ref().ok_or_else(|| wrong("url: a webhook needs an address".to_owned()))?;
    let mut secrets = Vec::new();
    for (option, secret) in [("secret", &recipient.secret), ("previous_secret", &recipient.previous_secret)] {
        if let Some(secret) = secret {
            secrets.push(
                SigningSecret::parse(secret.reveal().trim()).map_err(|error| wrong(format!("{option}: {error}")))?,
            );
        }
    }
    Ok(Way::Webhook(WebhookSettings {
        url: url.to_string(),
        format: match recipient.format {
            Format::Standard => MessageFormat::Standard,
            Format::CloudEvents => MessageFormat::CloudEvents,
        },
        secrets,
        guard: guard.clone(),
    }))
}

pub(super) fn guard(config: &Config) -> Result<GuardRules, Failure> {
    let networks = config
        .delivery
        .allow_networks
        .iter()
        .map(|network| Network::parse(&network.to_string()))
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::with_exit(3, format!("delivery.allow_networks: {error}")))?;
    Ok(GuardRules {
        allow_loopback: config.delivery.allow_loopback,
        allow_networks: networks,
        ports: config.delivery.allow_ports.clone(),
        allow_plain: false,
    })
}
