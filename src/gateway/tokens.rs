//! Write keys of collectors and API tokens of services.
//!
//! A token's text is shown once and stored as a keyed hash; the row carries a MAC, so that whoever
//! may write the database cannot plant a token or widen one. Every process reads the table every few
//! seconds, so that disabling acts everywhere within five.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::audit::payload::Payload;
use crate::crypto::jwt::{self, AccessClaims, JwtPublicKey};
use crate::crypto::key::Key;
use crate::crypto::mac::RowId;
use crate::crypto::token::{TokenKind as TextKind, TokenText};
use crate::domain::event::{Event, Outcome};
use crate::domain::id::{CollectorId, RecipientId, TokenId};
use crate::domain::policy::{Protocol, Trust};
use crate::storage::tokens::{self as stored, StoredToken, TokenKind};
use crate::storage::{Step, Unit};

use super::policy::operator;
use super::{Error, Gateway, Result, rows};

/// How long an access token is good, in seconds.
pub const ACCESS_SECONDS: i64 = jwt::LIFE_SECONDS;

/// The live tokens, by the hash of their text.
#[derive(Default)]
pub struct Tokens {
    by_hash: HashMap<[u8; 32], Arc<StoredToken>>,
    by_id: HashMap<TokenId, Arc<StoredToken>>,
}

/// A scope of an API token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `POST /v1/decisions`.
    Decisions,
    /// `POST /v1/disclosures`, for the token's recipient.
    Disclosures,
    /// `/v1/consents`.
    Consents,
    /// `/v1/subject-requests`.
    Requests,
    /// `/v1/audit/…`.
    AuditRead,
    /// Recipients' acknowledgements of tasks.
    Tasks,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 6] =
        [Self::Decisions, Self::Disclosures, Self::Consents, Self::Requests, Self::AuditRead, Self::Tasks];

    /// The spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decisions => "decisions",
            Self::Disclosures => "disclosures",
            Self::Consents => "consents",
            Self::Requests => "requests",
            Self::AuditRead => "audit:read",
            Self::Tasks => "tasks",
        }
    }

    /// Reads the spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// A service whose token was accepted.
#[derive(Clone, Debug)]
pub struct Service {
    /// The API token.
    pub token: TokenId,
    /// Its name.
    pub name: String,
    /// The recipient it speaks for, if any.
    pub recipient: Option<RecipientId>,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

impl Service {
    /// Whether it may do this.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// A collector whose write key was accepted.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Which.
    pub id: CollectorId,
    /// The key.
    pub token: TokenId,
}

impl Gateway {
    /// The collector whose write key this text is; `None` for a wrong, unknown or disabled key.
    #[must_use]
    pub fn collector_of(&self, text: &str) -> Option<Collector> {
        let kind = TokenText::parse(text).ok()?.kind();
        if !matches!(kind, TextKind::WriteKey | TextKind::PublicKey) {
            return None;
        }
        let token = self.live(text)?;
        Some(Collector { id: token.collector.clone()?, token: token.id })
    }

    /// The service whose API token or access token this text is; `None` for anything that is not
    /// acceptable, whatever the reason.
    #[must_use]
    pub fn service_of(&self, text: &str) -> Option<Service> {
        if text.starts_with(TextKind::ApiToken.prefix()) {
            TokenText::parse(text).ok()?;
            let token = self.live(text)?;
            return (token.kind == TokenKind::Api).then(|| service(&token, token.scopes.iter().map(String::as_str)));
        }
        let claims = self.access_claims(text).ok()?;
        let token = self.tokens.load().by_id.get(&claims.subject).cloned()?;
        self.is_live(&token).then(|| service(&token, claims.scope.split_whitespace()))
    }

    /// Exchanges an API token for an access token of 300 seconds, with these scopes or all it has.
    /// `None` where the token is not acceptable or lacks a scope that is asked for.
    ///
    /// # Errors
    /// [`Error::Protection`] when no randomness comes.
    pub fn exchange(&self, text: &str, wanted: Option<&str>) -> Result<Option<(String, String)>> {
        let Some(token) =
            TokenText::parse(text).ok().and_then(|_| self.live(text)).filter(|token| token.kind == TokenKind::Api)
        else {
            return Ok(None);
        };
        let scope = match wanted {
            None => token.scopes.join(" "),
            Some(wanted) => {
                if !wanted.split_whitespace().all(|scope| token.scopes.iter().any(|has| has == scope)) {
                    return Ok(None);
                }
                wanted.split_whitespace().collect::<Vec<_>>().join(" ")
            }
        };
        let id = self.source.random_id().map_err(Error::Protection)?.simple().to_string();
        let recipient = token.recipient.clone().unwrap_or_else(|| RecipientId::new(""));
        let now = self.source.now();
        let signed = self
            .keyholder
            .secrets()
            .jwt
            .issue(&self.settings.public_url, token.id, &recipient, &scope, &id, now)
            .map_err(Error::Protection)?;
        Ok(Some((signed, scope)))
    }

    /// The published keys as a JWK set (RFC 7517): those that verify access tokens.
    #[must_use]
    pub fn published_keys(&self) -> serde_json::Value {
        jwt::jwks(&self.jwt_keys())
    }

    /// The public keys that verify access tokens.
    #[must_use]
    pub fn jwt_keys(&self) -> Vec<JwtPublicKey> {
        vec![self.keyholder.secrets().jwt.public().clone()]
    }

    fn access_claims(&self, text: &str) -> std::result::Result<AccessClaims, crate::crypto::Error> {
        jwt::verify(text, &self.settings.public_url, &self.jwt_keys(), self.source.now())
    }

    fn live(&self, text: &str) -> Option<Arc<StoredToken>> {
        let hash = self.keyholder.secrets().tokens.hash(text);
        let token = self.tokens.load().by_hash.get(&hash).cloned()?;
        self.is_live(&token).then_some(token)
    }

    fn is_live(&self, token: &StoredToken) -> bool {
        token.disabled_at.is_none() && token.expires_at.is_none_or(|end| self.source.now() < end.timestamp())
    }

    /// Reads the table of tokens again; rows that fail their MAC are left out and reported.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn reload_tokens(&self) -> Result<()> {
        let rows = self.database.read(stored::all).await.map_err(Error::store)?;
        let secrets = self.keyholder.secrets();
        let mut tokens = Tokens::default();
        for row in rows {
            if !secrets.tokens.row_verifies(RowId::from(row.id), &rows::token(&row), &row.mac) {
                tracing::error!(token = %row.id, "a token row fails its MAC and is ignored; somebody wrote to the database");
                continue;
            }
            let row = Arc::new(row);
            tokens.by_hash.insert(row.hash, Arc::clone(&row));
            tokens.by_id.insert(row.id, row);
        }
        self.tokens.store(Arc::new(tokens));
        Ok(())
    }

    /// All tokens, disabled ones too.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn all_tokens(&self) -> Result<Vec<StoredToken>> {
        self.database.read(stored::all).await.map_err(Error::store)
    }

    /// Makes a write key for a collector of the policy. The text is returned once.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the policy has no such collector.
    pub async fn add_collector_key(&self, collector: &CollectorId, name: &str) -> Result<(TokenId, Zeroizing<String>)> {
        let policy = self.policy();
        let rules = policy.policy.collectors.get(collector).ok_or(Error::NotFound)?;
        let (kind, text_kind) = match rules.trust {
            Trust::Public => (TokenKind::PublicKey, TextKind::PublicKey),
            Trust::Server => (TokenKind::ServerKey, TextKind::WriteKey),
        };
        let new = NewToken {
            kind,
            text_kind,
            name,
            scopes: Vec::new(),
            collector: Some(collector.clone()),
            recipient: None,
            expires_at: None,
            event: Event::CollectorAdded,
        };
        self.add(new).await
    }

    /// Makes an API token. The text is returned once.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the policy has no such recipient, [`Error::Unacceptable`] for a token
    /// without scope or for disclosures without a recipient.
    pub async fn add_token(
        &self,
        name: &str,
        scopes: &[Scope],
        recipient: Option<&RecipientId>,
        expires_at: Option<Timestamp>,
    ) -> Result<(TokenId, Zeroizing<String>)> {
        if scopes.is_empty() {
            return Err(Error::Unacceptable("a token needs at least one scope"));
        }
        match recipient {
            Some(recipient) if !self.policy().policy.recipients.contains_key(recipient) => return Err(Error::NotFound),
            None if scopes.contains(&Scope::Disclosures) || scopes.contains(&Scope::Tasks) => {
                return Err(Error::Unacceptable("the scopes disclosures and tasks need a recipient"));
            }
            _ => {}
        }
        let new = NewToken {
            kind: TokenKind::Api,
            text_kind: TextKind::ApiToken,
            name,
            scopes: scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            collector: None,
            recipient: recipient.cloned(),
            expires_at,
            event: Event::TokenAdded,
        };
        self.add(new).await
    }

    async fn add(&self, new: NewToken<'_>) -> Result<(TokenId, Zeroizing<String>)> {
        let now = self.source.now();
        let id = TokenId::from_uuid(self.source.ordered_id(now).map_err(Error::Protection)?);
        let key = Key::random(&mut |bytes| self.source.fill(bytes)).map_err(Error::Protection)?;
        let text = TokenText::new(new.text_kind, key).text();
        let secrets = self.keyholder.secrets();
        let mut row = StoredToken {
            id,
            kind: new.kind,
            name: new.name.to_owned(),
            hash: secrets.tokens.hash(&text),
            last_four: text.get(text.len().saturating_sub(4)..).unwrap_or_default().to_owned(),
            scopes: new.scopes,
            collector: new.collector,
            recipient: new.recipient,
            secret_version: secrets.tokens.version(),
            created_at: now.into(),
            expires_at: new.expires_at.map(Into::into),
            disabled_at: None,
            last_used_at: None,
            mac: [0; 32],
        };
        row.mac = secrets.tokens.row_mac(RowId::from(id), &rows::token(&row));
        let payload = Payload {
            collector: row.collector.as_ref().map(|id| id.as_str().to_owned()),
            recipient: row.recipient.as_ref().map(|id| id.as_str().to_owned()),
            reason: Some(new.name.to_owned()),
            ..operator()
        };
        let leaf = self.installation_leaf(new.event, Outcome::Done, &payload, Vec::new())?;
        self.commit_change(move || {
            let (row, entry) = (row.clone(), leaf.draft.entry());
            Unit::change(Vec::new(), vec![leaf.clone()], move |transaction, _| {
                stored::insert(transaction.connection(), &row, entry)?;
                Ok(Step::Commit)
            })
        })
        .await?;
        self.reload_tokens().await?;
        Ok((id, text))
    }

    /// Ends a token or write key. False: there is none, or it ended before.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn disable_token(&self, id: TokenId) -> Result<bool> {
        let Some(token) = self.tokens.load().by_id.get(&id).cloned().filter(|token| token.disabled_at.is_none()) else {
            return Ok(false);
        };
        let event = if token.kind == TokenKind::Api { Event::TokenRevoked } else { Event::CollectorDisabled };
        let payload = Payload { reason: Some(token.name.clone()), ..operator() };
        let leaf = self.installation_leaf(event, Outcome::Done, &payload, Vec::new())?;
        let at = self.source.now().into();
        self.commit_change(move || {
            Unit::change(Vec::new(), vec![leaf.clone()], move |transaction, _| {
                Ok(if stored::disable(transaction.connection(), id, at)? { Step::Commit } else { Step::Stale })
            })
        })
        .await?;
        self.reload_tokens().await?;
        Ok(true)
    }

    /// The rules of a collector, if the policy in force still has it and its clients speak `protocol`.
    #[must_use]
    pub fn speaks(&self, collector: &CollectorId, protocol: Protocol) -> bool {
        self.policy().policy.collectors.get(collector).is_some_and(|rules| rules.protocol == protocol)
    }
}

struct NewToken<'a> {
    kind: TokenKind,
    text_kind: TextKind,
    name: &'a str,
    scopes: Vec<String>,
    collector: Option<CollectorId>,
    recipient: Option<RecipientId>,
    expires_at: Option<Timestamp>,
    event: Event,
}

fn service<'a>(token: &StoredToken, scopes: impl Iterator<Item = &'a str>) -> Service {
    Service {
        token: token.id,
        name: token.name.clone(),
        recipient: token.recipient.clone(),
        scopes: scopes.filter_map(Scope::parse).collect(),
    }
}

/// Whether two secrets are the same, compared in constant time.
#[must_use]
pub fn same(one: &str, other: &str) -> bool {
    crate::crypto::mac::equal(one.as_bytes(), other.as_bytes())
}
