//! Notices handed out with a snapshot token, and what was shown by the caller's word
//! (`consent.md` §3).

use data_encoding::HEXLOWER;
use jiff::Timestamp;

use crate::crypto::notice_token::{self, NoticeClaims, Unproven};
use crate::domain::consent::NoticeShown;
use crate::domain::id::{NoticeId, PurposeId};
use crate::domain::notice::Notice;
use crate::domain::policy::Policy;
use crate::gateway::policy::PolicyInForce;
use crate::gateway::{Error, Gateway, Result};

use super::check::Code;
use super::{Caller, NoticeGiven};

/// A notice as it is handed out.
#[derive(Clone, Debug)]
pub struct HandedOut {
    /// Which notice.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// BCP 47 tag.
    pub language: String,
    /// When it was published.
    pub published_at: Timestamp,
    /// SHA-256 of the text, lower-case hexadecimal.
    pub sha256: String,
    /// The text, Markdown.
    pub text: String,
    /// The purposes it names.
    pub purposes: Vec<String>,
    /// The recipients it names.
    pub recipients: Vec<String>,
    /// The token by which the caller proves what it showed; only for callers who say who they are.
    pub snapshot: Option<String>,
}

/// What was shown, checked against what was published.
pub(super) struct Shown {
    pub(super) notice: NoticeShown,
    pub(super) purposes: Vec<PurposeId>,
    /// The token's own id and when it was issued, if there was a token.
    pub(super) token: Option<(String, Timestamp)>,
}

impl Gateway {
    /// The newest published version of a notice in a language; in the controller's first language
    /// where it does not exist in that one.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown or unpublished notice.
    pub fn notice(&self, id: &str, language: Option<&str>, caller: Option<&Caller>) -> Result<HandedOut> {
        let policy = self.policy();
        let now = self.source.now();
        let notice = newest(&policy.policy, id, language, now)
            .or_else(|| newest(&policy.policy, id, policy.policy.controller.languages.first().map(String::as_str), now))
            .ok_or(Error::NotFound)?;
        let names: (Vec<String>, Vec<String>) = (
            notice.purposes.iter().map(|id| id.as_str().to_owned()).collect(),
            notice.recipients.iter().map(|id| id.as_str().to_owned()).collect(),
        );
        let sha256 = HEXLOWER.encode(&notice.text_hash);
        let snapshot = caller
            .map(|caller| -> Result<String> {
                let claims = NoticeClaims {
                    audience: caller.id.as_str().to_owned(),
                    issued_at: now,
                    id: HEXLOWER.encode(&self.source.random::<16>().map_err(Error::Protection)?),
                    notice: notice.id.as_str().to_owned(),
                    version: notice.version,
                    language: notice.language.clone(),
                    text_hash: sha256.clone(),
                    policy: HEXLOWER.encode(&policy.policy.hash.0),
                    purposes: names.0.clone(),
                    recipients: names.1.clone(),
                };
                Ok(notice_token::issue(&self.keyholder.secrets().receipt, &self.settings.public_url, &claims))
            })
            .transpose()?;
        Ok(HandedOut {
            id: notice.id.as_str().to_owned(),
            version: notice.version,
            language: notice.language.clone(),
            published_at: notice.published_at,
            sha256,
            text: notice.text.clone(),
            purposes: names.0,
            recipients: names.1,
            snapshot,
        })
    }
}

fn newest<'a>(policy: &'a Policy, id: &str, language: Option<&str>, now: Timestamp) -> Option<&'a Notice> {
    policy
        .notices
        .values()
        .filter(|notice| notice.id.as_str() == id && notice.published_at <= now)
        .filter(|notice| language.is_some_and(|language| notice.language == language))
        .max_by_key(|notice| notice.version)
}

/// What the caller says was shown, held against what was published.
pub(super) fn shown(
    house: &Gateway,
    policy: &PolicyInForce,
    caller: &Caller,
    given: Option<&NoticeGiven>,
    now: Timestamp,
) -> std::result::Result<Option<Shown>, Code> {
    let Some(given) = given else { return Ok(None) };
    let (id, version, language, sha256, claims) = match given {
        NoticeGiven::Named { id, version, language, sha256 } => {
            (id.clone(), *version, language.clone(), sha256.to_lowercase(), None)
        }
        NoticeGiven::Snapshot(token) => {
            let key = house.keyholder.secrets().receipt.public_key();
            let claims = notice_token::verify(token, &house.settings.public_url, caller.id.as_str(), &[key], now)
                .map_err(|unproven| match unproven {
                    Unproven::Foreign => Code::NoticeMismatch,
                    Unproven::Expired => Code::NoticeStale,
                })?;
            (claims.notice.clone(), claims.version, claims.language.clone(), claims.text_hash.clone(), Some(claims))
        }
    };
    let notice = policy
        .policy
        .notices
        .get(&(NoticeId::new(&id), version, language.clone()))
        .filter(|notice| notice.published_at <= now)
        .ok_or(Code::NoticeUnknown)?;
    if HEXLOWER.encode(&notice.text_hash) != sha256 {
        return Err(Code::NoticeMismatch);
    }
    if let Some(claims) = &claims {
        let same = |named: &[String], declared: &mut dyn Iterator<Item = &str>| {
            let mut named: Vec<&str> = named.iter().map(String::as_str).collect();
            let mut declared: Vec<&str> = declared.collect();
            named.sort_unstable();
            declared.sort_unstable();
            named == declared
        };
        if !same(&claims.purposes, &mut notice.purposes.iter().map(PurposeId::as_str))
            || !same(&claims.recipients, &mut notice.recipients.iter().map(crate::domain::id::RecipientId::as_str))
        {
            return Err(Code::NoticeMismatch);
        }
    }
    Ok(Some(Shown {
        notice: NoticeShown { id: notice.id.clone(), version, language, text_hash: notice.text_hash },
        purposes: notice.purposes.clone(),
        token: claims.map(|claims| (claims.id, claims.issued_at)),
    }))
}
