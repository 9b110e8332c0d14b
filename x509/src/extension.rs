//! Extensions of certificates.

use std::net::IpAddr;

use bytes::Bytes;

/// One extension, as it stands in the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Content octets of the object identifier.
    pub oid: Bytes,
    /// Whether who does not know it must refuse the certificate.
    pub critical: bool,
    /// Its body.
    pub value: Bytes,
}

/// What the extensions that Go knows say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// All, in order.
    pub all: Vec<Extension>,
    /// Object identifiers, in dotted form, of critical extensions that Go does not handle: no chain goes through this certificate.
    pub unhandled_critical: Vec<String>,
    /// Bits 0 (digitalSignature) to 8 of the key usage, bit 0 as 1, bit 5 (keyCertSign) as 32; 0 if absent or empty.
    pub key_usage: u16,
    /// Basic constraints.
    pub basic_constraints: Option<BasicConstraints>,
    /// Subject alternative names; present also when it names nobody.
    pub subject_alt_name: Option<SubjectAltName>,
    /// Name constraints.
    pub name_constraints: Option<NameConstraints>,
    /// Extended key usages; empty if absent.
    pub extended_key_usage: Vec<ExtendedKeyUsage>,
    /// Subject key identifier, as Go's parser reads it.
    pub subject_key_id: Option<Bytes>,
    /// Key identifier of the authority key identifier; absent also when the extension has none.
    pub authority_key_id: Option<Bytes>,
    /// Certificate policies: content octets of their object identifiers.
    pub policies: Option<Vec<Bytes>>,
    /// Policy mappings: issuer's and subject's policy.
    pub policy_mappings: Vec<(Bytes, Bytes)>,
    /// `requireExplicitPolicy` of the policy constraints.
    pub require_explicit_policy: Option<i64>,
    /// `inhibitPolicyMapping` of the policy constraints.
    pub inhibit_policy_mapping: Option<i64>,
    /// `inhibitAnyPolicy`.
    pub inhibit_any_policy: Option<i64>,
}

/// Whether a certificate is an authority's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BasicConstraints {
    /// It is.
    pub is_ca: bool,
    /// How many certificates may stand between it and the end of a chain.
    pub max_path_len: Option<u64>,
}

/// Names beside the subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectAltName {
    /// DNS names.
    pub dns: Vec<String>,
    /// E-mail addresses.
    pub emails: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
    /// IP addresses.
    pub ips: Vec<IpAddr>,
}

/// Which names may stand below an authority.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameConstraints {
    /// If one of a kind is listed, names of that kind must match one.
    pub permitted: Subtrees,
    /// Names must match none.
    pub excluded: Subtrees,
}

/// Lists of name constraints by the kind of name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subtrees {
    /// DNS names.
    pub dns: Vec<String>,
    /// E-mail addresses, domains.
    pub emails: Vec<String>,
    /// Domains of URIs.
    pub uris: Vec<String>,
    /// Address (as written, host bits kept) and length of the mask in bits.
    pub ips: Vec<(IpAddr, u8)>,
}

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtendedKeyUsage {
    /// Anything.
    Any,
    /// TLS servers, which is what Fabric, by Go's default, asks of every certificate.
    ServerAuth,
    /// TLS clients.
    ClientAuth,
    /// Something else.
    Other,
}
