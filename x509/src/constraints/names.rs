//! The parts of names that are compared with constraints, and mailboxes.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

use super::domains::Domains;

/// An e-mail address (`rfc2821Mailbox`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mailbox {
    /// Before the @, escapes and quotes taken away.
    pub(super) local: Vec<u8>,
    /// Behind it, in lower case.
    pub(super) domain: String,
}

impl Mailbox {
    /// Reads an address (`parseRFC2821Mailbox`).
    pub(super) fn parse(address: &str) -> Option<Self> {
        let bytes = address.as_bytes();
        let (local, rest) = match bytes.split_first()? {
            (b'"', quoted) => quoted_string(quoted)?,
            _ => dotted_atoms(bytes)?,
        };
        let (b'@', domain) = rest.split_first()? else { return None };
        let domain = str::from_utf8(domain).ok()?;
        let labels_are_valid = domain.is_empty()
            || domain.split('.').all(|label| !label.is_empty() && label.bytes().all(|byte| (33..=126).contains(&byte)));
        labels_are_valid.then(|| Self { local, domain: domain.to_ascii_lowercase() })
    }
}

/// What a quoted local part is, and what is behind its closing quote.
fn quoted_string(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut local = Vec::new();
    loop {
        let (first, behind) = rest.split_first()?;
        rest = behind;
        match first {
            b'"' => return Some((local, rest)),
            b'\\' => {
                let (escaped, behind) = rest.split_first()?;
                if !matches!(escaped, 1..=9 | 11 | 12 | 14..=127) {
                    return None;
                }
                local.push(*escaped);
                rest = behind;
            }
            // the space is not in the RFC, and Go takes it
            1..=8 | 11 | 12 | 14..=31 | 32 | 33 | 35..=91 | 93..=127 => local.push(*first),
            _ => return None,
        }
    }
}

/// What a local part without quotes is, and what is behind it.
fn dotted_atoms(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut local = Vec::new();
    while let Some((first, behind)) = rest.split_first() {
        match first {
            b'\\' => {
                let (escaped, behind) = behind.split_first()?;
                local.push(*escaped);
                rest = behind;
            }
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                local.push(*first);
                rest = behind;
            }
            _ if b"!#$%&'*+-/=?^_`{|}~.".contains(first) => {
                local.push(*first);
                rest = behind;
            }
            _ => break,
        }
    }
    let dots_are_inside =
        local.first()? != &b'.' && local.last()? != &b'.' && !local.windows(2).any(|two| two == b"..");
    dots_are_inside.then_some((local, rest))
}

/// One list of constraints on e-mail addresses (`emailConstraints`): whole addresses, and domains.
#[derive(Debug)]
pub(super) struct Mailboxes {
    whole: HashSet<Mailbox>,
    domains: Option<Domains>,
}

impl Mailboxes {
    /// None for an empty list, which does not constrain.
    pub(super) fn new(list: &[String], permitted: bool) -> Option<Self> {
        if list.is_empty() {
            return None;
        }
        let whole = list.iter().filter(|entry| entry.contains('@')).filter_map(|entry| Mailbox::parse(entry)).collect();
        let domains = Domains::new(list.iter().map(String::as_str).filter(|entry| !entry.contains('@')), permitted);
        Some(Self { whole, domains })
    }

    pub(super) fn contain(&self, mailbox: &Mailbox) -> bool {
        self.whole.contains(mailbox) || self.domains.as_ref().is_some_and(|domains| domains.contain(&mailbox.domain))
    }
}

/// Whether Go takes it as the domain of a name (`domainNameValid`, for names).
pub(super) fn domain_is_valid(domain: &str) -> bool {
    domain.is_empty()
        || domain.split('.').all(|label| !label.is_empty() && label.bytes().all(|byte| (33..=126).contains(&byte)))
}

/// The host of a URI, in lower case and without a port, unless it has none or it is an address (`parseURIs`).
pub(super) fn uri_host(uri: &str) -> Option<String> {
    host_name(str::from_utf8(&crate::uri::host(uri).ok()?).ok()?)
}

fn host_name(host: &str) -> Option<String> {
    if host.is_empty() {
        return None;
    }
    let name = if host.contains(':') && !host.ends_with(']') { without_port(host)? } else { host };
    let is_address = is_ip(name) || (name.starts_with('[') && name.ends_with(']'));
    (!is_address).then(|| name.to_ascii_lowercase())
}

/// The host of a pair of host and port (`net.SplitHostPort`).
fn without_port(pair: &str) -> Option<&str> {
    let (before, after) = pair.rsplit_once(':')?;
    let host = match before.strip_prefix('[') {
        Some(inside) => inside.strip_suffix(']').filter(|host| !host.contains(['[', ']']))?,
        None => Some(before).filter(|host| !host.contains([':', '[', ']']))?,
    };
    (!after.contains(['[', ']'])).then_some(host)
}

/// Whether it is an address of IPv4 or IPv6, that with or without a zone (`netip.ParseAddr`).
fn is_ip(text: &str) -> bool {
    match text.split_once('%') {
        Some((address, zone)) => !zone.is_empty() && address.parse::<Ipv6Addr>().is_ok(),
        None => text.parse::<IpAddr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_are_read_as_go_reads_them() {
        let parts = |address| {
            Mailbox::parse(address).map(|Mailbox { local, domain }| (String::from_utf8(local).unwrap(), domain))
        };
        assert_eq!(parts("a@EXAMPLE.com"), Some(("a".into(), "example.com".into())));
        assert_eq!(parts(r#""a b\@"@x"#), Some(("a b@".into(), "x".into())));
        assert_eq!(parts(r"a\@b@x"), Some(("a@b".into(), "x".into())));
        assert_eq!(parts("a@"), Some(("a".into(), String::new())));
        assert_eq!(parts("a@b@c"), Some(("a".into(), "b@c".into())));
        for wrong in
            ["", "@", "@x", "a", ".a@x", "a.@x", "a..b@x", "a@.x", "a@x.", "a@x..y", "\"a@x", "\"\n\"@x", "a b@x"]
        {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn hosts_are_names() {
        assert_eq!(host_name("EXAMPLE.com:80"), Some("example.com".into()));
        assert_eq!(host_name("a"), Some("a".into()));
        assert_eq!(host_name(":80"), Some(String::new()));
        for wrong in ["", "1.2.3.4", "1.2.3.4:80", "[::1]", "[::1]:80", "[fe80::1%eth0]:1", "a:b:c", "a:[", "[a]b:1"] {
            assert_eq!(host_name(wrong), None, "{wrong}");
        }
    }
}
