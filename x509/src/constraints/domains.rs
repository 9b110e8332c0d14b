//! Lists of DNS domains (`dnsConstraints`), also for the hosts of URIs and the domains of mailboxes.

use std::cmp::Ordering;
use std::collections::HashSet;

/// Domains of one list.
#[derive(Debug)]
pub(super) enum Domains {
    /// The list has the empty domain, which contains all names.
    All,
    /// Sorted from the end, without those that the preceding domain contains.
    Some {
        sorted: Vec<String>,
        /// Only for an excluded list: the part of each domain after its first label, in lower case. A wildcard in place of that
        /// label would match the excluded domain.
        parents: HashSet<String>,
    },
}

impl Domains {
    /// Builds the list; `None` if it is empty and so does not constrain.
    pub(super) fn new<'a>(list: impl Iterator<Item = &'a str>, permitted: bool) -> Option<Self> {
        let mut sorted: Vec<String> = list.map(str::to_owned).collect();
        if sorted.is_empty() {
            return None;
        }
        if sorted.iter().any(String::is_empty) {
            return Some(Self::All);
        }
        sorted.sort_by(|left, right| compare(left, right));
        sorted.dedup_by(|domain, before| contains(before, domain));
        let parents = if permitted {
            HashSet::new()
        } else {
            sorted.iter().filter_map(|domain| Some(behind_first_label(domain)?.to_ascii_lowercase())).collect()
        };
        Some(Self::Some { sorted, parents })
    }

    /// Whether Go's search finds a domain that contains this name.
    pub(super) fn contain(&self, name: &str) -> bool {
        let Self::Some { sorted, parents } = self else { return true };
        let place = sorted.partition_point(|domain| compare(domain, name) == Ordering::Less);
        if sorted.get(place).is_some_and(|domain| compare(domain, name) == Ordering::Equal) {
            return true;
        }
        if sorted.get(place.saturating_sub(1)).is_some_and(|domain| contains(domain, name)) {
            return true;
        }
        // a wildcard may match an excluded domain
        name.starts_with('*')
            && behind_first_label(name).is_some_and(|parent| parents.contains(&parent.to_ascii_lowercase()))
    }
}

/// Whether the domain, which is not empty, equals the name or is a parent of it, by whole labels (`dnsHasSuffix`). A domain with
/// a leading dot contains only names with further labels.
fn contains(domain: &str, name: &str) -> bool {
    let (domain, name) = (domain.as_bytes(), name.as_bytes());
    let Some(before) = name.len().checked_sub(domain.len()) else { return false };
    name[before..].eq_ignore_ascii_case(domain) && (domain[0] == b'.' || before == 0 || name[before - 1] == b'.')
}

/// Compares from the end, ignoring case, with the dot before all other characters (`dnsCompare`): a domain sorts right before the
/// names it contains.
fn compare(left: &str, right: &str) -> Ordering {
    fn from_end(name: &str) -> impl Iterator<Item = u8> {
        name.bytes().rev().map(|byte| if byte == b'.' { 0 } else { byte.to_ascii_lowercase() })
    }
    from_end(left).cmp(from_end(right))
}

/// Returns the part of a name from the first dot on.
fn behind_first_label(name: &str) -> Option<&str> {
    name.find('.').map(|dot| &name[dot..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(list: &[&str], permitted: bool, name: &str) -> bool {
        Domains::new(list.iter().copied(), permitted).unwrap().contain(name)
    }

    #[test]
    fn a_domain_contains_itself_and_what_is_below() {
        assert!(found(&["example.com"], true, "EXAMPLE.com"));
        assert!(found(&["Example.com"], true, "a.b.example.com"));
        assert!(!found(&["example.com"], true, "testexample.com"));
        assert!(!found(&["example.com"], true, "com"));
        assert!(!found(&[".example.com"], true, "example.com"));
        assert!(found(&[".example.com"], true, "a.example.com"));
        assert!(found(&["a.com", "b-a.com", "a-a.com", "b.a.com"], true, "x.b.a.com"));
        assert!(found(&["", "a.com"], true, "anything"));
        assert!(!found(&["a.com"], true, ""));
    }

    #[test]
    fn a_wildcard_stands_for_excluded_siblings() {
        assert!(found(&["a.example.com"], false, "*.example.com"));
        assert!(found(&[".example.com"], false, "*.EXAMPLE.com"));
        assert!(!found(&["a.example.com"], true, "*.example.com"));
        assert!(!found(&["b.a.example.com"], false, "*.example.com"));
        assert!(!found(&["com"], false, "*"));
    }
}
