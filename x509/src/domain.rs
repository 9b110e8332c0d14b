//! Domains and mailboxes in alternative names and name constraints.
//!
//! | Rule | In Go |
//! |---|---|
//! | A domain is empty, or labels of visible ASCII, none empty, so that it does not end with a dot; labels may have any length. A constraint may begin with one dot. | `domainNameValid` |
//! | A mailbox is a quoted string or atoms with single dots between them, `@`, and a domain that may be empty. After a backslash, an atom may have any octet. | `parseRFC2821Mailbox` |

/// Whether Go accepts a text as a domain, such as the host of a URI in an alternative name.
pub(crate) fn is_domain(domain: &[u8]) -> bool {
    domain.is_empty() || domain.split(|&octet| octet == b'.').all(is_label)
}

/// Whether Go accepts a text as a constraint on domains.
pub(crate) fn is_domain_constraint(domain: &str) -> bool {
    match domain {
        "." => false,
        _ => is_domain(domain.strip_prefix('.').unwrap_or(domain).as_bytes()),
    }
}

fn is_label(label: &[u8]) -> bool {
    !label.is_empty() && label.iter().all(u8::is_ascii_graphic)
}

/// An e-mail address (`rfc2821Mailbox`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mailbox {
    /// The part before the @, without escapes and quotes.
    pub(crate) local: Vec<u8>,
    /// The part after the @, in lower case.
    pub(crate) domain: String,
}

impl Mailbox {
    /// Parses an address (`parseRFC2821Mailbox`).
    pub(crate) fn parse(address: &str) -> Option<Self> {
        let bytes = address.as_bytes();
        let (local, rest) = match bytes.split_first()? {
            (b'"', quoted) => quoted_string(quoted)?,
            _ => dotted_atoms(bytes)?,
        };
        let (b'@', domain) = rest.split_first()? else { return None };
        let domain = str::from_utf8(domain).ok()?;
        is_domain(domain.as_bytes()).then(|| Self { local, domain: domain.to_ascii_lowercase() })
    }
}

/// Returns the value of a quoted local part, and the bytes after its closing quote.
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
            // the RFC does not allow the space, but Go accepts it
            1..=8 | 11 | 12 | 14..=31 | 32 | 33 | 35..=91 | 93..=127 => local.push(*first),
            _ => return None,
        }
    }
}

/// Returns the value of a local part without quotes, and the bytes after it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        for (domain, valid, as_constraint) in [
            ("", true, true),
            ("a", true, true),
            ("a.b", true, true),
            (".a", false, true),
            (".", false, false),
            ("..a", false, false),
            ("a.", false, false),
            ("a..b", false, false),
            ("a b", false, false),
            ("a\u{7f}", false, false),
            ("*.a_b:80", true, true),
        ] {
            assert_eq!(is_domain(domain.as_bytes()), valid, "{domain}");
            assert_eq!(is_domain_constraint(domain), as_constraint, "{domain}");
        }
    }

    #[test]
    fn mailboxes() {
        for (mailbox, valid) in [
            ("a@b", true),
            ("a.b+c@d.e", true),
            ("a@", true),
            ("\"\"@b", true),
            ("\"a b\\\"\"@b", true),
            ("a\\@b@c", true),
            ("@b", false),
            (".a@b", false),
            ("a.@b", false),
            ("a..b@c", false),
            ("a\\..b@c", false),
            ("a b@c", false),
            ("\"a@b", false),
            ("a\\", false),
            ("a@b.", false),
            ("a@b@c", true),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(Mailbox::parse(mailbox).is_some(), valid, "{mailbox}");
        }
    }

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
}
