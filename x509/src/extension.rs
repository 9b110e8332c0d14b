//! Parses the extensions of certificates.
//!
//! "Tail ignored": octets after the outer element of the body are ignored.
//!
//! | Extension | Rule | In Go |
//! |---|---|---|
//! | all | SEQUENCE of object identifier, optional BOOLEAN, OCTET STRING; what follows is ignored. None is repeated. | `parseExtension`, `parseCertificate` |
//! | keyUsage | BIT STRING; its first nine bits count. Tail ignored. | `parseKeyUsageExtension` |
//! | basicConstraints | SEQUENCE of optional BOOLEAN and optional INTEGER, which is not negative and has at most 63 bits. Everything else ignored. | `parseBasicConstraintsExtension` |
//! | subjectAltName, nameConstraints | in `names` | `parseSANExtension`, `parseNameConstraintsExtension` |
//! | certificatePolicies, policyMappings, policyConstraints, inhibitAnyPolicy | in `policy` | `processExtensions` |
//! | cRLDistributionPoints | SEQUENCE of SEQUENCEs; a name in one is a full name. The URIs that it begins with are well formed. | `processExtensions` |
//! | authorityKeyIdentifier | Not critical. SEQUENCE; its identifier is the first field, or absent. | `parseAuthorityKeyIdentifier` |
//! | subjectKeyIdentifier | Not critical. OCTET STRING. Tail ignored. | `processExtensions` |
//! | extKeyUsage | SEQUENCE of object identifiers, none counts as no extension. Tail ignored. | `parseExtKeyUsageExtension` |
//! | authorityInfoAccess | Not critical. SEQUENCE of SEQUENCEs of object identifier and name; names that are no URIs are skipped. | `processExtensions` |
//! | any other | The body is not read. Where it is critical no chain goes through the certificate. | `processExtensions`, `isValid` |

mod names;
mod policy;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use bytes::Bytes;

use crate::certificate::ParseError;
use crate::der::{self, Reader};

/// One extension, as encoded in the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Content octets of the object identifier.
    pub oid: Bytes,
    /// Whether software that does not know the extension must reject the certificate.
    pub critical: bool,
    /// Body of the extension.
    pub value: Bytes,
}

/// Number of extensions up to which a search scans the list.
const FEW: usize = 16;

/// Contents of the extensions that Go knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// All extensions, in order.
    pub all: Vec<Extension>,
    /// Indexes in `all` by object identifier; empty if there are few.
    places: HashMap<Bytes, usize>,
    /// Object identifiers, in dotted form, of critical extensions that Go does not handle: no chain can contain this certificate.
    pub unhandled_critical: Vec<String>,
    /// Bits 0 (digitalSignature) to 8 of the key usage, bit 0 as 1, bit 5 (keyCertSign) as 32; 0 if absent or empty.
    pub key_usage: u16,
    /// Basic constraints.
    pub basic_constraints: Option<BasicConstraints>,
    /// Subject alternative names; present even if they list no known name.
    pub subject_alt_name: Option<SubjectAltName>,
    /// Name constraints.
    pub name_constraints: Option<NameConstraints>,
    /// Extended key usages; empty if absent.
    pub extended_key_usage: Vec<ExtendedKeyUsage>,
    /// Subject key identifier, as Go's parser reads it.
    pub subject_key_id: Option<Bytes>,
    /// Key identifier of the authority key identifier; `None` also if the extension has none.
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

/// Basic constraints: whether a certificate is an authority's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BasicConstraints {
    /// Whether the certificate is an authority's.
    pub is_ca: bool,
    /// Maximum number of certificates between this one and the end of a chain.
    pub max_path_len: Option<u64>,
}

/// Names in addition to the subject.
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

/// Constraints on the names below an authority.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameConstraints {
    /// Permitted names: if a kind has entries, names of that kind must match one of them.
    pub permitted: Subtrees,
    /// Excluded names: names must match none of them.
    pub excluded: Subtrees,
}

/// Lists of name constraints by the kind of name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subtrees {
    /// DNS names.
    pub dns: Vec<String>,
    /// E-mail addresses and domains.
    pub emails: Vec<String>,
    /// Domains of URIs.
    pub uris: Vec<String>,
    /// Address (as encoded, with host bits) and length of the mask in bits.
    pub ips: Vec<(IpAddr, u8)>,
}

/// Permitted use of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtendedKeyUsage {
    /// Any use.
    Any,
    /// TLS servers, which Fabric, by Go's default, requires of every certificate.
    ServerAuth,
    /// TLS clients.
    ClientAuth,
    /// Another use.
    Other,
}

/// Result of interpreting an extension.
enum Handled {
    /// Go knows the extension and its contents.
    Yes,
    /// Go does not know the extension or its contents: it must not be critical.
    No,
}

type Interpreted = Result<Handled, &'static str>;

impl Extension {
    /// Parses the contents of an extension in `certificate`.
    fn parse(certificate: &Bytes, contents: &[u8]) -> Result<Self, &'static str> {
        let mut reader = Reader::new(contents);
        let oid = reader.oid().ok_or("malformed extension OID field")?;
        let critical = reader.next_is(der::BOOLEAN) && reader.boolean().ok_or("malformed extension critical field")?;
        let value = reader.contents(der::OCTET_STRING).ok_or("malformed extension value field")?;
        Ok(Self { oid: certificate.slice_ref(oid), critical, value: certificate.slice_ref(value) })
    }
}

impl Extensions {
    /// Parses the sequence of extensions in `certificate`.
    pub(crate) fn parse(certificate: &Bytes, mut reader: Reader<'_>) -> Result<Self, ParseError> {
        let mut extensions = Self::default();
        let mut seen = HashSet::new();
        while !reader.is_empty() {
            let contents = reader.contents(der::SEQUENCE).ok_or(ParseError::Malformed("malformed extension"))?;
            let extension = Extension::parse(certificate, contents).map_err(ParseError::Malformed)?;
            if !seen.insert(extension.oid.clone()) {
                return Err(ParseError::DuplicateExtension(der::dotted(&extension.oid)));
            }
            extensions.all.push(extension);
        }
        if extensions.all.len() > FEW {
            let place = |(place, extension): (usize, &Extension)| (extension.oid.clone(), place);
            extensions.places = extensions.all.iter().enumerate().map(place).collect();
        }
        for extension in extensions.all.clone() {
            if let Handled::No = extensions.interpret(&extension).map_err(ParseError::Malformed)?
                && extension.critical
            {
                extensions.unhandled_critical.push(der::dotted(&extension.oid));
            }
        }
        Ok(extensions)
    }

    /// Returns the extension with these content octets of its object identifier; a certificate has at most one.
    pub fn find(&self, oid: &[u8]) -> Option<&Extension> {
        if self.all.len() > FEW {
            return self.places.get(oid).and_then(|place| self.all.get(*place));
        }
        self.all.iter().find(|extension| extension.oid == oid)
    }

    fn interpret(&mut self, extension: &Extension) -> Interpreted {
        let body = Reader::new(&extension.value);
        match &extension.oid[..] {
            [0x55, 0x1d, number @ 0..0x80] => return self.interpret_standard(*number, extension),
            // 1.3.6.1.5.5.7.1.1
            [0x2b, 6, 1, 5, 5, 7, 1, 1] => {
                if extension.critical {
                    return Err("authority info access incorrectly marked critical");
                }
                check_authority_info_access(body).ok_or("invalid authority info access")?;
            }
            _ => return Ok(Handled::No),
        }
        Ok(Handled::Yes)
    }

    /// Interprets an extension of the standard itself, 2.5.29.`number`.
    fn interpret_standard(&mut self, number: u8, extension: &Extension) -> Interpreted {
        let Extension { critical, value, .. } = extension;
        let mut body = Reader::new(value);
        match number {
            14 => {
                if *critical {
                    return Err("subject key identifier incorrectly marked critical");
                }
                let id = body.contents(der::OCTET_STRING).ok_or("invalid subject key identifier")?;
                self.subject_key_id = Some(value.slice_ref(id));
            }
            15 => {
                let bits = body.bit_string().ok_or("invalid key usage")?;
                self.key_usage = (0..9).filter(|&bit| bits.bit(bit)).map(|bit| 1 << bit).sum();
            }
            17 => return self.subject_alt_name(body),
            19 => self.basic_constraints = Some(basic_constraints(body).ok_or("invalid basic constraints")?),
            30 => return self.name_constraints(body),
            31 => check_distribution_points(body).ok_or("invalid CRL distribution points")?,
            32 => self.policies = Some(policy::policies(value).ok_or("invalid certificate policies")?),
            33 => self.policy_mappings = policy::mappings(value).ok_or("invalid policy mappings extension")?,
            35 => {
                if *critical {
                    return Err("authority key identifier incorrectly marked critical");
                }
                let mut fields = body.enter(der::SEQUENCE).ok_or("invalid authority key identifier")?;
                let id = fields.optional(der::context(0)).ok_or("invalid authority key identifier")?;
                self.authority_key_id = id.map(|id| value.slice_ref(id));
            }
            36 => {
                (self.require_explicit_policy, self.inhibit_policy_mapping) =
                    policy::constraints(body).ok_or("invalid policy constraints extension")?;
            }
            37 => self.extended_key_usage = extended_key_usage(body).ok_or("invalid extended key usages")?,
            54 => {
                self.inhibit_any_policy = Some(body.int64().ok_or("invalid inhibit any policy extension")?);
            }
            _ => return Ok(Handled::No),
        }
        Ok(Handled::Yes)
    }
}

fn basic_constraints(mut body: Reader<'_>) -> Option<BasicConstraints> {
    let mut fields = body.enter(der::SEQUENCE)?;
    let is_ca = fields.next_is(der::BOOLEAN) && fields.boolean()?;
    let max_path_len = if fields.next_is(der::INTEGER) { Some(u64::try_from(fields.int64()?).ok()?) } else { None };
    Some(BasicConstraints { is_ca, max_path_len })
}

fn extended_key_usage(mut body: Reader<'_>) -> Option<Vec<ExtendedKeyUsage>> {
    let mut usages = body.enter(der::SEQUENCE)?;
    let mut known = Vec::new();
    while !usages.is_empty() {
        known.push(match usages.oid()? {
            [0x55, 0x1d, 0x25, 0x00] => ExtendedKeyUsage::Any,
            [0x2b, 6, 1, 5, 5, 7, 3, 1] => ExtendedKeyUsage::ServerAuth,
            [0x2b, 6, 1, 5, 5, 7, 3, 2] => ExtendedKeyUsage::ClientAuth,
            _ => ExtendedKeyUsage::Other,
        });
    }
    Some(known)
}

/// Validates the distribution points. Keeps nothing, because Fabric does not use them.
fn check_distribution_points(mut body: Reader<'_>) -> Option<()> {
    let mut points = body.enter(der::SEQUENCE)?;
    while !points.is_empty() {
        let mut point = points.enter(der::SEQUENCE)?;
        let Some(name) = point.optional(der::constructed(0))? else { continue };
        let mut names = Reader::new(name).enter(der::constructed(0))?;
        while names.next_is(der::context(6)) {
            names.any()?;
        }
    }
    Some(())
}

/// Validates the authority information access. Keeps nothing, because Fabric does not use it.
fn check_authority_info_access(mut body: Reader<'_>) -> Option<()> {
    let mut descriptions = body.enter(der::SEQUENCE)?;
    while !descriptions.is_empty() {
        let mut description = descriptions.enter(der::SEQUENCE)?;
        description.oid()?;
        description.optional(der::context(6))?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::encode;

    /// Parses one or several extensions, given by number below 2.5.29, critical flag and body.
    pub(super) fn parse(extensions: &[(u8, bool, &[u8])]) -> Result<Extensions, ParseError> {
        let sequence: Vec<_> = extensions
            .iter()
            .flat_map(|(number, critical, body)| {
                let critical = if *critical { encode(1, &[0xff]) } else { vec![] };
                encode(0x30, &[encode(6, &[0x55, 0x1d, *number]), critical, encode(4, body)].concat())
            })
            .collect();
        let bytes = Bytes::from(sequence);
        Extensions::parse(&bytes, Reader::new(&bytes))
    }

    #[test]
    fn none_stands_twice() {
        assert_eq!(
            parse(&[(99, false, &[]), (99, false, &[])]),
            Err(ParseError::DuplicateExtension("2.5.29.99".to_owned()))
        );
    }

    #[test]
    fn an_unknown_one_may_not_be_critical() {
        assert_eq!(parse(&[(99, false, b"x")]).unwrap().unhandled_critical, [""; 0]);
        assert_eq!(parse(&[(99, true, b"x")]).unwrap().unhandled_critical, ["2.5.29.99"]);
    }

    #[test]
    fn key_identifiers_are_not_critical() {
        assert!(parse(&[(14, true, &[4, 1, 7])]).is_err());
        assert!(parse(&[(35, true, &[0x30, 3, 0x80, 1, 7])]).is_err());
        let extensions = parse(&[(14, false, &[4, 1, 7, 99]), (35, false, &[0x30, 3, 0x80, 1, 8])]).unwrap();
        assert_eq!(extensions.subject_key_id.as_deref(), Some(&[7][..]));
        assert_eq!(extensions.authority_key_id.as_deref(), Some(&[8][..]));
        assert_eq!(parse(&[(35, false, &[0x30, 3, 0x82, 1, 8])]).unwrap().authority_key_id, None);
    }

    #[test]
    fn basic_constraints_and_key_usage() {
        let extensions =
            parse(&[(19, true, &[0x30, 6, 1, 1, 0xff, 2, 1, 0]), (15, true, &[3, 2, 0, 0b0000_0100])]).unwrap();
        assert_eq!(extensions.basic_constraints, Some(BasicConstraints { is_ca: true, max_path_len: Some(0) }));
        assert_eq!(extensions.key_usage, 32);
        assert!(parse(&[(19, true, &[0x30, 3, 2, 1, 0xff])]).is_err());
        assert!(parse(&[(19, true, &[0x30, 3, 1, 1, 1])]).is_err());
        assert_eq!(
            parse(&[(19, true, &[0x30, 0])]).unwrap().basic_constraints,
            Some(BasicConstraints { is_ca: false, max_path_len: None })
        );
    }

    #[test]
    fn a_distribution_point_is_not_named_relative_to_its_issuer() {
        assert!(parse(&[(31, false, &[0x30, 7, 0x30, 5, 0xa0, 3, 0xa0, 1, 0x86])]).is_err());
        assert!(parse(&[(31, false, &[0x30, 6, 0x30, 4, 0xa0, 2, 0xa1, 0])]).is_err());
        assert!(parse(&[(31, false, &[0x30, 8, 0x30, 6, 0xa0, 4, 0xa0, 2, 0x86, 0])]).is_ok());
    }

    #[test]
    fn extended_key_usages() {
        let body = [0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
        assert_eq!(parse(&[(37, false, &body)]).unwrap().extended_key_usage, [ExtendedKeyUsage::ClientAuth]);
        assert_eq!(parse(&[(37, false, &[0x30, 0])]).unwrap().extended_key_usage, []);
    }
}
