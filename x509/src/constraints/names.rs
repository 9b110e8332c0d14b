//! Parts of names that are compared with constraints, and lists of mailboxes.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

use super::domains::Domains;
use crate::domain::Mailbox;

/// One list of constraints on e-mail addresses (`emailConstraints`): whole addresses, and domains.
#[derive(Debug)]
pub(super) struct Mailboxes {
    whole: HashSet<Mailbox>,
    domains: Option<Domains>,
}

impl Mailboxes {
    /// Builds the list; `None` if it is empty and so does not constrain.
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

/// Returns the host of a URI in lower case and without a port; `None` if there is no host or it is an address
/// (`parseURIs`).
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

/// Returns the host of a pair of host and port (`net.SplitHostPort`).
fn without_port(pair: &str) -> Option<&str> {
    let (before, after) = pair.rsplit_once(':')?;
    let host = match before.strip_prefix('[') {
        Some(inside) => inside.strip_suffix(']').filter(|host| !host.contains(['[', ']']))?,
        None => Some(before).filter(|host| !host.contains([':', '[', ']']))?,
    };
    (!after.contains(['[', ']'])).then_some(host)
}

/// Whether a text is an IPv4 address, or an IPv6 address with or without a zone (`netip.ParseAddr`).
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
    fn hosts_are_names() {
        assert_eq!(host_name("EXAMPLE.com:80"), Some("example.com".into()));
        assert_eq!(host_name("a"), Some("a".into()));
        assert_eq!(host_name(":80"), Some(String::new()));
        for wrong in ["", "1.2.3.4", "1.2.3.4:80", "[::1]", "[::1]:80", "[fe80::1%eth0]:1", "a:b:c", "a:[", "[a]b:1"] {
            assert_eq!(host_name(wrong), None, "{wrong}");
        }
    }
}
