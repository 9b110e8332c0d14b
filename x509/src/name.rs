//! Distinguished names.

use std::fmt;

/// A name, its values decoded to text as Go decodes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// Object identifier in dotted form, and value, in the order in which they stand in the certificate.
    pub(crate) attributes: Vec<(String, String)>,
}

impl Name {
    /// All organizational units, in order.
    pub fn organizational_units(&self) -> impl Iterator<Item = &str> {
        self.values("2.5.4.11")
    }

    /// The last common name.
    pub fn common_name(&self) -> Option<&str> {
        self.values("2.5.4.3").last()
    }

    fn values<'a>(&'a self, oid: &'a str) -> impl Iterator<Item = &'a str> {
        self.attributes.iter().filter(move |(known, _)| known == oid).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Name {
    /// Such as `C=US, OU=client, CN=User1@org1.example.com`.
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
