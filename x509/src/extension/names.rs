//! Parses alternative names and name constraints.
//!
//! | Extension | Rule | In Go |
//! |---|---|---|
//! | subjectAltName | SEQUENCE of names. E-mail addresses, DNS names and URIs are ASCII, URIs are those that `net/url` accepts with a host that is a domain, IP addresses have 4 or 16 octets. Other names are skipped; where there are no others and it is critical, Go does not handle it. Tail ignored. | `parseSANExtension` |
//! | nameConstraints | SEQUENCE of the permitted and the excluded, not both absent or empty, and nothing else in it or after it. Each is a SEQUENCE that begins with a name. | `parseNameConstraintsExtension` |
//! | – DNS | ASCII; a domain that may begin with a dot. | as above |
//! | – e-mail | ASCII; a mailbox if `@` is in it, else as DNS. | as above |
//! | – URI | ASCII; no IP address, else as DNS. | as above |
//! | – IP | 8 or 32 octets; the mask is ones, then zeros. Bits of the address outside of the mask are kept. | as above, `isValidIPMask` |
//! | – other | Where it is critical, Go does not handle it. | as above |

use std::net::IpAddr;

use super::{Extensions, Handled, Interpreted, NameConstraints, SubjectAltName, Subtrees};
use crate::der::{self, Reader};
use crate::{domain, uri};

/// Identifier octets of names.
const EMAIL: u8 = der::context(1);
const DNS: u8 = der::context(2);
const URI: u8 = der::context(6);
const IP: u8 = der::context(7);

fn ascii(octets: &[u8]) -> Option<&str> {
    if octets.is_ascii() { std::str::from_utf8(octets).ok() } else { None }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

impl Extensions {
    pub(super) fn subject_alt_name(&mut self, mut body: Reader<'_>) -> Interpreted {
        let mut names = body.enter(der::SEQUENCE).ok_or("invalid subject alternative names")?;
        let mut known = SubjectAltName::default();
        while !names.is_empty() {
            let name = names.any().ok_or("invalid subject alternative name")?;
            match name.tag {
                EMAIL => known.emails.push(ascii(name.contents).ok_or("SAN rfc822Name is malformed")?.to_owned()),
                DNS => known.dns.push(ascii(name.contents).ok_or("SAN dNSName is malformed")?.to_owned()),
                URI => {
                    let text = ascii(name.contents).ok_or("SAN uniformResourceIdentifier is malformed")?;
                    let host = uri::host(text)?;
                    if !domain::is_domain(&host) {
                        return Err("cannot parse URI: invalid domain");
                    }
                    known.uris.push(text.to_owned());
                }
                IP => known.ips.push(address(name.contents).ok_or("cannot parse IP address: neither 4 nor 16 octets")?),
                _ => {}
            }
        }
        let handled = if known == SubjectAltName::default() { Handled::No } else { Handled::Yes };
        self.subject_alt_name = Some(known);
        Ok(handled)
    }

    pub(super) fn name_constraints(&mut self, mut body: Reader<'_>) -> Interpreted {
        let (permitted, excluded) = subtrees(&mut body).ok_or("invalid NameConstraints extension")?;
        if permitted.is_empty() && excluded.is_empty() {
            return Err("empty name constraints extension");
        }
        let mut handled = Handled::Yes;
        self.name_constraints = Some(NameConstraints {
            permitted: constraints(permitted, &mut handled)?,
            excluded: constraints(excluded, &mut handled)?,
        });
        Ok(handled)
    }
}

/// Returns the permitted and the excluded subtrees; empty if absent.
fn subtrees<'a>(body: &mut Reader<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let mut fields = body.enter(der::SEQUENCE)?;
    let permitted = fields.optional(der::constructed(0))?.unwrap_or_default();
    let excluded = fields.optional(der::constructed(1))?.unwrap_or_default();
    (body.is_empty() && fields.is_empty()).then_some((permitted, excluded))
}

fn constraints(subtrees: &[u8], handled: &mut Handled) -> Result<Subtrees, &'static str> {
    const NOT_ASCII: &str = "invalid constraint value: it cannot be encoded as an IA5String";
    let mut known = Subtrees::default();
    let mut subtrees = Reader::new(subtrees);
    while !subtrees.is_empty() {
        let base = subtrees.enter(der::SEQUENCE).and_then(|mut subtree| subtree.any());
        let base = base.ok_or("invalid NameConstraints extension")?;
        match base.tag {
            DNS => {
                let constraint = ascii(base.contents).ok_or(NOT_ASCII)?;
                if !domain::is_domain_constraint(constraint) {
                    return Err("failed to parse dnsName constraint");
                }
                known.dns.push(constraint.to_owned());
            }
            IP => known.ips.push(address_range(base.contents)?),
            EMAIL => {
                let constraint = ascii(base.contents).ok_or(NOT_ASCII)?;
                let valid = if constraint.contains('@') {
                    domain::Mailbox::parse(constraint).is_some()
                } else {
                    domain::is_domain_constraint(constraint)
                };
                if !valid {
                    return Err("failed to parse rfc822Name constraint");
                }
                known.emails.push(constraint.to_owned());
            }
            URI => {
                let constraint = ascii(base.contents).ok_or(NOT_ASCII)?;
                if constraint.parse::<IpAddr>().is_ok() {
                    return Err("failed to parse URI constraint: cannot be IP address");
                }
                if !domain::is_domain_constraint(constraint) {
                    return Err("failed to parse URI constraint");
                }
                known.uris.push(constraint.to_owned());
            }
            _ => *handled = Handled::No,
        }
    }
    Ok(known)
}

/// Parses an address and the length of its mask.
fn address_range(octets: &[u8]) -> Result<(IpAddr, u8), &'static str> {
    let (address_octets, mask) = octets.split_at(octets.len() / 2);
    let (8 | 32, Some(address)) = (octets.len(), address(address_octets)) else {
        return Err("IP constraint contained value of wrong length");
    };
    let mut bits = mask.iter().flat_map(|octet| (0..8).map(move |bit| octet & (0x80 >> bit) != 0));
    // at most 128
    let length = bits.by_ref().take_while(|&bit| bit).fold(0, |length: u8, _| length + 1);
    if bits.any(|bit| bit) {
        return Err("IP constraint contained invalid mask");
    }
    Ok((address, length))
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;
    use super::*;
    use crate::der::encode;

    #[test]
    fn alternative_names_by_kind() {
        let names = [
            encode(DNS, b"a.b"),
            encode(EMAIL, b"anything"),
            encode(URI, b"https://a/b"),
            encode(IP, &[1, 2, 3, 4]),
            encode(0xa4, b"skipped"),
        ];
        let san = parse(&[(17, true, &encode(0x30, &names.concat()))]).unwrap().subject_alt_name.unwrap();
        assert_eq!((&san.dns[..], &san.emails[..]), (&["a.b".to_owned()][..], &["anything".to_owned()][..]));
        assert_eq!((&san.uris[..], &san.ips[..]), (&["https://a/b".to_owned()][..], &[IpAddr::from([1, 2, 3, 4])][..]));
        for refused in [
            encode(DNS, &[0x80]),
            encode(EMAIL, &[0x80]),
            encode(URI, b"http://a."),
            encode(IP, &[1, 2, 3]),
            vec![0x82],
        ] {
            assert!(parse(&[(17, false, &encode(0x30, &refused))]).is_err(), "{refused:x?}");
        }
    }

    #[test]
    fn alternative_names_that_go_does_not_know_may_not_be_critical() {
        let body = encode(0x30, &encode(0xa4, b""));
        let extensions = parse(&[(17, true, &body)]).unwrap();
        assert_eq!(extensions.unhandled_critical, ["2.5.29.17"]);
        assert_eq!(extensions.subject_alt_name, Some(SubjectAltName::default()));
        assert_eq!(parse(&[(17, false, &body)]).unwrap().unhandled_critical, [""; 0]);
    }

    fn constraint(tag: u8, value: &[u8]) -> Result<Extensions, crate::ParseError> {
        let permitted = encode(0xa0, &encode(0x30, &encode(tag, value)));
        parse(&[(30, true, &encode(0x30, &permitted))])
    }

    #[test]
    fn constraints_are_checked_by_kind() {
        let permitted = |tag, value: &[u8]| constraint(tag, value).unwrap().name_constraints.unwrap().permitted;
        assert_eq!(permitted(DNS, b".a.b").dns, [".a.b"]);
        assert_eq!(permitted(EMAIL, b"a@b").emails, ["a@b"]);
        assert_eq!(permitted(URI, b"").uris, [""]);
        assert_eq!(permitted(IP, &[10, 1, 2, 3, 255, 240, 0, 0]).ips, [(IpAddr::from([10, 1, 2, 3]), 12)]);
        assert_eq!(permitted(IP, &[0xff; 32]).ips, [(IpAddr::from([0xff; 16]), 128)]);
        for (tag, value) in [
            (DNS, &b"a."[..]),
            (EMAIL, b"a@b."),
            (EMAIL, b"a b"),
            (URI, b"1.2.3.4"),
            (URI, b"::1"),
            (IP, &[1, 2, 3, 4]),
            (IP, &[1, 2, 3, 4, 255, 0, 255, 0]),
        ] {
            assert!(constraint(tag, value).is_err(), "{tag:x} {value:?}");
        }
        assert_eq!(constraint(0xa4, b"").unwrap().unhandled_critical, ["2.5.29.30"]);
    }

    #[test]
    fn constraints_say_something_and_nothing_else() {
        for body in [&[0x30, 0][..], &[0x30, 2, 0xa0, 0], &[0x30, 4, 0xa0, 0, 0xa1, 0], &[0x30, 2, 5, 0]] {
            assert!(parse(&[(30, false, body)]).is_err(), "{body:x?}");
        }
        let good = encode(0x30, &encode(0xa1, &encode(0x30, &encode(DNS, b""))));
        assert!(parse(&[(30, false, &good)]).is_ok());
        assert!(parse(&[(30, false, &[&good[..], &[5, 0]].concat())]).is_err());
    }
}
