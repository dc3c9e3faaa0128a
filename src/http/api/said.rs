//! What several bodies of the API have in common.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::collected::RawIdentifier;
use crate::domain::identifier::IdentifierKind;
use crate::domain::personal::Personal;
use crate::gateway::consent::{Code as ConsentCode, Violation as ConsentViolation};
use crate::http::problem::{Code, Problem, Violation};

/// The most identifiers in one body.
const IDENTIFIERS: usize = 16;
/// The longest identifier that is looked at, in bytes.
const IDENTIFIER_BYTES: usize = 1_024;

/// An identifier of a person.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Identifier {
    /// `user_id`, `email`, `phone`, `anonymous_id`, `advertising_id`, `vendor_id`, `cookie_id`,
    /// `push_token`, `social` or `custom:<name>`.
    #[schema(example = "email")]
    kind: String,
    /// The value in any usual spelling.
    #[schema(example = "anna@example.org")]
    value: String,
    /// The namespace within the kind, if it has one.
    #[serde(default)]
    namespace: String,
}

/// Takes identifiers over; a kind that does not exist, a value too long or too many are refused.
pub(super) fn identifiers(given: Vec<Identifier>) -> Result<Vec<RawIdentifier>, Problem> {
    if given.len() > IDENTIFIERS {
        let detail = format!("a body names at most {IDENTIFIERS} identifiers");
        return Err(Problem::new(Code::InvalidContent).detail(detail));
    }
    let mut raws = Vec::with_capacity(given.len());
    let mut wrong = Vec::new();
    for (identifier, at) in given.into_iter().zip(0_usize..) {
        let length = identifier.value.len();
        let text = Personal::new(identifier.value);
        let Some(kind) = IdentifierKind::parse(&identifier.kind) else {
            wrong.push(violation(
                Code::IdentifierInvalid,
                format!("/identifiers/{at}/kind"),
                "no such kind of identifier",
            ));
            continue;
        };
        if length > IDENTIFIER_BYTES {
            wrong.push(violation(
                Code::IdentifierInvalid,
                format!("/identifiers/{at}/value"),
                "the identifier is too long",
            ));
            continue;
        }
        if identifier.namespace.len() > 64 || !identifier.namespace.bytes().all(|byte| byte.is_ascii_graphic()) {
            wrong.push(violation(Code::IdentifierInvalid, format!("/identifiers/{at}/namespace"), "no such namespace"));
            continue;
        }
        raws.push(RawIdentifier { kind, namespace: identifier.namespace, text, pointer: "/identifiers" });
    }
    if wrong.is_empty() { Ok(raws) } else { Err(Problem::new(Code::IdentifierInvalid).violations(wrong)) }
}

fn violation(code: Code, pointer: String, detail: &'static str) -> Violation {
    Violation { code: code.as_str(), pointer, detail: detail.into() }
}

/// The problem of a refused consent: the first violation names it, all are listed.
pub(super) fn refused(violations: &[ConsentViolation], prefix: &str) -> Problem {
    let first = violations.first().map_or(Code::InvalidContent, |violation| problem_code(violation.code));
    let listed = violations
        .iter()
        .map(|violation| Violation {
            code: violation.code.as_str(),
            pointer: format!("{prefix}{}", violation.pointer),
            detail: problem_code(violation.code).title().into(),
        })
        .collect();
    Problem::new(first).violations(listed)
}

/// The public code of a refusal.
pub(super) const fn problem_code(code: ConsentCode) -> Code {
    match code {
        ConsentCode::IdentifierInvalid => Code::IdentifierInvalid,
        ConsentCode::IdentifierBlocked => Code::IdentifierBlocked,
        ConsentCode::NeedsServerKey => Code::NeedsServerKey,
        ConsentCode::NotUnambiguous => Code::NotUnambiguous,
        ConsentCode::Preselected => Code::Preselected,
        ConsentCode::NotDistinguishable => Code::NotDistinguishable,
        ConsentCode::NotGranular => Code::NotGranular,
        ConsentCode::RefusalNotOffered => Code::RefusalNotOffered,
        ConsentCode::Art9NotExplicit => Code::Art9NotExplicit,
        ConsentCode::WrongBasis => Code::WrongBasis,
        ConsentCode::ChannelUnknown => Code::ChannelUnknown,
        ConsentCode::PurposeUnknown => Code::PurposeUnknown,
        ConsentCode::NoticeUnknown => Code::NoticeUnknown,
        ConsentCode::NoticeMismatch => Code::NoticeMismatch,
        ConsentCode::NoticeStale => Code::NoticeStale,
        ConsentCode::ParentalConsentRequired => Code::ParentalConsentRequired,
        ConsentCode::ActorNotProven => Code::ActorNotProven,
    }
}
