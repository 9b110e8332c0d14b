//! The address of a broker.

use std::fmt;

use crate::settings::SettingsError;

/// A host and a port. Compared as written: two names of one host are two addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// Reads `host:port`, or `[2001:db8::1]:port`.
    pub(crate) fn parse(text: &str) -> Result<Self, SettingsError> {
        let bad = || SettingsError::BadAddress { address: text.to_owned() };
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?;
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        let is_ambiguous = bracketed.is_none() && host.contains(':');
        if host.is_empty() || is_ambiguous || host.contains(char::is_whitespace) {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_both_kinds_of_ip_addresses_are_read_and_written_alike() {
        for text in ["kafka0:9092", "10.0.0.7:19092", "[::1]:9092"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Address::parse("[::1]:9092").unwrap().host, "::1");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["kafka0", "kafka0:", "kafka0:0", ":9092", "::1:9092", "a b:1", "kafka0:70000", "ssl://kafka:x"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
