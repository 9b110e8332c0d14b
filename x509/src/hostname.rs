//! Checks whether a certificate is valid for a host (`VerifyHostname` of Go's `crypto/x509`).
//!
//! | Rule | In Go |
//! |---|---|
//! | An IP address, with or without brackets, equals one of the certificate's IP addresses. | `VerifyHostname` |
//! | A wildcard stands for the whole first label, if host and name are both well-formed; a trailing dot of the host is ignored then. | `matchHostnames` |
//! | Otherwise host and name are equal except for the case of ASCII letters. | `matchExactly` |
//! | The common name is ignored. | `VerifyHostname` |

use std::net::IpAddr;

use crate::certificate::Certificate;
use crate::extension::SubjectAltName;

/// The certificate is not valid for the host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("certificate is valid for {names}, not {host}")]
pub struct HostnameError {
    host: String,
    names: String,
}

impl Certificate {
    /// Checks that Go's TLS client accepts this certificate for `host`: a name, or an IP address with or without brackets.
    ///
    /// # Errors
    /// The certificate is not valid for the host.
    pub fn verify_hostname(&self, host: &str) -> Result<(), HostnameError> {
        let none = SubjectAltName::default();
        let names = self.extensions().subject_alt_name.as_ref().unwrap_or(&none);
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let is_valid = if let Ok(address) = bare.parse::<IpAddr>() {
            names.ips.iter().any(|candidate| candidate.to_canonical() == address.to_canonical())
        } else {
            let is_well_formed = is_hostname(host, false);
            names.dns.iter().any(|name| {
                if is_well_formed && is_hostname(name, true) {
                    matches(name, host)
                } else {
                    !matches!(host, "" | ".") && name.eq_ignore_ascii_case(host)
                }
            })
        };
        if is_valid {
            return Ok(());
        }
        let listed: Vec<String> = names.dns.iter().cloned().chain(names.ips.iter().map(IpAddr::to_string)).collect();
        let names = if listed.is_empty() { "no names".to_owned() } else { listed.join(", ") };
        Err(HostnameError { host: host.to_owned(), names })
    }
}

/// Whether a name is well-formed and so matched label by label (`validHostname`).
fn is_hostname(host: &str, is_pattern: bool) -> bool {
    let host = if is_pattern { host } else { host.strip_suffix('.').unwrap_or(host) };
    let is_label = |label: &str| {
        let mut octets = label.bytes();
        octets.next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
            && octets.all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    host != "*"
        && host.split('.').enumerate().all(|(at, label)| (is_pattern && at == 0 && label == "*") || is_label(label))
}

/// Whether a well-formed name, possibly with a wildcard, covers a well-formed host (`matchHostnames`).
fn matches(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let (mut expected, mut given) = (pattern.split('.'), host.split('.'));
    let mut is_first = true;
    loop {
        match (expected.next(), given.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) if is_first => {}
            (Some(pattern), Some(label)) if pattern.eq_ignore_ascii_case(label) => {}
            _ => return false,
        }
        is_first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn certificate(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Certificate::parse(&Bytes::copy_from_slice(made.cert.der())).unwrap()
    }

    #[test]
    fn hosts_match_names_as_in_go() {
        for (names, host, expected) in [
            (&["orderer.example.com"][..], "orderer.example.com", true),
            (&["orderer.example.com"], "Orderer.Example.COM", true),
            (&["orderer.example.com"], "orderer.example.com.", true),
            (&["orderer.example.com"], "example.com", false),
            (&["*.example.com"], "orderer.example.com", true),
            (&["*.example.com"], "a.orderer.example.com", false),
            (&["*.example.com"], "example.com", false),
            (&["o*.example.com"], "orderer.example.com", false),
            (&["*"], "orderer", false),
            (&["orderer_1"], "orderer_1", true),
            (&["-a.b"], "-a.b", true),
            (&["-a.b"], "-a.b.", false),
            (&["127.0.0.1"], "127.0.0.1", true),
            (&["127.0.0.1"], "[127.0.0.1]", true),
            (&["127.0.0.1"], "::ffff:127.0.0.1", true),
            (&["127.0.0.1"], "127.0.0.2", false),
            (&["::1"], "[::1]", true),
            (&["localhost"], "127.0.0.1", false),
            (&[], "localhost", false),
        ] {
            let verdict = certificate(names).verify_hostname(host);
            assert_eq!(verdict.is_ok(), expected, "{names:?} {host}: {verdict:?}");
        }
        let error = certificate(&["a.b", "10.0.0.1"]).verify_hostname("c").unwrap_err().to_string();
        assert_eq!(error, "certificate is valid for a.b, 10.0.0.1, not c");
    }
}
