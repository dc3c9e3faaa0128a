//! What the person may do now, and where to complain (Art. 15(1)(e) and (f)).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::domain::id::PurposeId;
use crate::domain::legal_basis::LegalBasis;
use crate::gateway::access::document::not_applicable;

use super::Writing;

impl Writing<'_> {
    pub(super) fn rights(&self, applied: &BTreeSet<PurposeId>) -> Value {
        let on = |wanted: &[LegalBasis]| -> Vec<&str> {
            applied
                .iter()
                .filter_map(|id| self.policy.purposes.get(id))
                .filter(|purpose| wanted.contains(&purpose.basis))
                .map(|purpose| purpose.id.as_str())
                .collect()
        };
        let all: Vec<&str> = applied.iter().map(PurposeId::as_str).collect();
        let how =
            format!("Write to {}, or use the channel through which you asked.", self.policy.controller.dpo_contact);
        let link = self.house.settings.public_url.clone();
        let right = |article: &str, right: &str, purposes: Vec<&str>| json!({ "article": article, "right": right, "purposes": purposes, "how": how, "link": link });
        let objectable: Vec<&str> = applied
            .iter()
            .filter_map(|id| self.policy.purposes.get(id))
            .filter(|purpose| {
                purpose.direct_marketing
                    || matches!(
                        purpose.basis,
                        LegalBasis::LegitimateInterests | LegalBasis::PublicTask | LegalBasis::SoftOptIn
                    )
            })
            .map(|purpose| purpose.id.as_str())
            .collect();
        json!([
            right("7(3)", "withdraw a consent, at any time", on(&[LegalBasis::Consent])),
            right("16", "have wrong data corrected or completed", all.clone()),
            right("17", "have data erased", all.clone()),
            right("18", "have processing restricted", all),
            right(
                "20",
                "receive data you provided, to take elsewhere",
                on(&[LegalBasis::Consent, LegalBasis::Contract])
            ),
            right("21", "object", objectable),
        ])
    }

    pub(super) fn complaint(&self) -> Value {
        json!({
            "authority": self.policy.controller.authority,
            "authority_of_person": not_applicable("Your country is not known here; you may also turn to the authority where you live or work (Art. 77)."),
            "court": "The courts of the country where the controller has its seat, or of the one where you live (Art. 79).",
        })
    }
}
