//! The terms of the Data Privacy Vocabulary that a policy may use: version 2.3 (February 2026).
//!
//! A pinned list, updated by hand: a term may change its meaning between versions, as purposes did
//! from 2.2 to 2.3. Without prefix; `dpv:` for purposes, `pd:` for categories.

/// Purposes (`dpv:`).
pub(super) const PURPOSES: &[&str] = &[
    "ServiceProvision",
    "RequestedServiceProvision",
    "AccountManagement",
    "PaymentManagement",
    "CommunicationForCustomerCare",
    "Marketing",
    "DirectMarketing",
    "SocialMediaMarketing",
    "Advertising",
    "PersonalisedAdvertising",
    "TargetedAdvertising",
    "ServiceUsageAnalytics",
    "ServicePersonalisation",
    "FraudPreventionAndDetection",
    "EnforceSecurity",
    "IdentityVerification",
    "LegalCompliance",
    "RightsFulfilment",
    "ScientificResearch",
    "SellDataToThirdParties",
];

/// Purposes that a global privacy control denies where a collector maps none.
pub(super) const SOLD_OR_TARGETED: [&str; 3] =
    ["SellDataToThirdParties", "PersonalisedAdvertising", "TargetedAdvertising"];

/// Categories (`pd:`).
pub(super) const CATEGORIES: &[&str] = &[
    "Name",
    "EmailAddress",
    "TelephoneNumber",
    "PhysicalAddress",
    "PostalCode",
    "BirthDate",
    "Gender",
    "UID",
    "Username",
    "OfficialID",
    "Passport",
    "PaymentCardNumber",
    "BankAccount",
    "IPAddress",
    "MACAddress",
    "UserAgent",
    "BrowserHistory",
    "GPSCoordinate",
    "Language",
    "Purchase",
    "Transaction",
];

/// Categories of Art. 9 and Art. 10 (`pd:`).
pub(super) const SPECIAL_CATEGORIES: &[&str] = &[
    "Health",
    "Biometric",
    "Genetic",
    "EthnicOrigin",
    "PoliticalOpinion",
    "ReligiousBelief",
    "TradeUnionMembership",
    "SexualPreference",
    "Criminal",
];
