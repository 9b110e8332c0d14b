//! Domains and mailboxes in alternative names and name constraints.
//!
//! | Rule | In Go |
//! |---|---|
//! | A domain is empty, or labels of visible ASCII, none empty, so that it does not end with a dot; labels may have any length. A constraint may begin with one dot. | `domainNameValid` |
//! | A mailbox is a quoted string or atoms with single dots between them, `@`, and a domain that may be empty. A backslash lets any octet stand in an atom. | `parseRFC2821Mailbox` |

/// Whether Go takes this as the host of a URI in an alternative name.
pub(crate) fn is_domain(domain: &[u8]) -> bool {
    domain.is_empty() || domain.split(|&octet| octet == b'.').all(is_label)
}

/// Whether Go takes this as a constraint of domains.
pub(crate) fn is_domain_constraint(domain: &str) -> bool {
    match domain {
        "." => false,
        _ => is_domain(domain.strip_prefix('.').unwrap_or(domain).as_bytes()),
    }
}

fn is_label(label: &[u8]) -> bool {
    !label.is_empty() && label.iter().all(u8::is_ascii_graphic)
}

/// Whether Go takes this as an address for mail.
pub(crate) fn is_mailbox(mailbox: &str) -> bool {
    let domain = match mailbox.as_bytes() {
        [b'"', quoted @ ..] => behind_quoted(quoted),
        atoms => behind_atoms(atoms),
    };
    domain.and_then(|rest| rest.strip_prefix(b"@")).is_some_and(is_domain)
}

/// What follows a quoted string, whose first quotation mark is read.
fn behind_quoted(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        let (&octet, rest) = text.split_first()?;
        text = rest;
        match octet {
            b'"' => return Some(text),
            b'\\' => {
                let (&escaped, rest) = text.split_first()?;
                if !matches!(escaped, 1..=9 | 11 | 12 | 14..=127) {
                    return None;
                }
                text = rest;
            }
            1..=8 | 11 | 12 | 14..=33 | 35..=91 | 93..=127 => {}
            _ => return None,
        }
    }
}

/// What follows atoms with dots between them.
fn behind_atoms(text: &[u8]) -> Option<&[u8]> {
    let (mut at, mut previous) = (0, b'.');
    while let Some(&octet) = text.get(at) {
        let octet = match octet {
            b'\\' => {
                at += 1;
                *text.get(at)?
            }
            _ if octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&octet) => octet,
            _ => break,
        };
        // the first one may not be a dot either
        if octet == b'.' && previous == b'.' {
            return None;
        }
        previous = octet;
        at += 1;
    }
    // nothing, or a dot at the end
    if previous == b'.' { None } else { text.get(at..) }
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
            assert_eq!(is_mailbox(mailbox), valid, "{mailbox}");
        }
    }
}
