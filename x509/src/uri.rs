//! Parses URIs in alternative names by the rules of Go's `net/url`.
//!
//! | Rule | In Go |
//! |---|---|
//! | No control characters before the fragment. | `url.parse` |
//! | A scheme is a letter, then letters, digits, `+`, `-`, `.`; a colon at the beginning is an error. | `url.getScheme` |
//! | Behind a scheme and no slash, anything goes; without a scheme, the first segment has no colon. | `url.parse` |
//! | An authority follows `//`, but not `///` where there is no scheme. User information ends at the last `@`, and has letters, digits and some punctuation. | `url.parseAuthority`, `validUserinfo` |
//! | A host in brackets is an IPv6 address; its zone follows `%25`. A bracket elsewhere is an error. | `url.parseHost` |
//! | A port is digits, perhaps none. `http` and `https` have one colon outside of brackets; elsewhere the last one counts. | `url.parseHost` |
//! | `%` is followed by two hexadecimal digits; in a host only `%25` and octets from 80 on are written so. | `url.unescape` |

use std::net::Ipv6Addr;

/// Reason why Go does not parse a URI.
pub(crate) type UriError = &'static str;

/// Returns the host of a URI with its port, unescaped, as Go's `url.Parse` finds it; empty if there is none.
pub(crate) fn host(uri: &str) -> Result<Vec<u8>, UriError> {
    let (before, fragment) = uri.split_once('#').unwrap_or((uri, ""));
    let host = host_before_fragment(before)?;
    check_escapes(fragment)?;
    Ok(host)
}

fn host_before_fragment(uri: &str) -> Result<Vec<u8>, UriError> {
    if uri.bytes().any(|octet| octet < b' ' || octet == 0x7f) {
        return Err("invalid control character in URL");
    }
    let (scheme, rest) = scheme(uri)?;
    // the part after a question mark is not checked
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    if !rest.starts_with('/') {
        if !scheme.is_empty() {
            return Ok(Vec::new());
        }
        if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return Err("first path segment in URL cannot contain colon");
        }
    }
    let authority = if scheme.is_empty() && rest.starts_with("///") { None } else { rest.strip_prefix("//") };
    let Some(authority) = authority else {
        check_escapes(rest)?;
        return Ok(Vec::new());
    };
    let (authority, path) = authority.find('/').map_or((authority, ""), |slash| authority.split_at(slash));
    let host = authority_host(scheme, authority)?;
    check_escapes(path)?;
    Ok(host)
}

/// Returns the scheme, empty if there is none, and the text after it.
fn scheme(uri: &str) -> Result<(&str, &str), UriError> {
    for (i, octet) in uri.bytes().enumerate() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if i > 0 => {}
            b':' if i == 0 => return Err("missing protocol scheme"),
            b':' => return Ok((&uri[..i], &uri[i + 1..])),
            _ => break,
        }
    }
    Ok(("", uri))
}

fn authority_host(scheme: &str, authority: &str) -> Result<Vec<u8>, UriError> {
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let host = parse_host(scheme, host)?;
    if let Some(user) = user {
        if !user.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&octet)) {
            return Err("invalid userinfo");
        }
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        check_escapes(name)?;
        check_escapes(password)?;
    }
    Ok(host)
}

fn parse_host(scheme: &str, host: &str) -> Result<Vec<u8>, UriError> {
    match host.rfind('[') {
        Some(0) => {}
        Some(_) => return Err("invalid IP-literal"),
        None => {
            let colon = if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") {
                host.find(':')
            } else {
                host.rfind(':')
            };
            check_port(&host[colon.unwrap_or(host.len())..])?;
            return unescape_host(host);
        }
    }
    let end = host.rfind(']').ok_or("missing ']' in host")?;
    let port = &host[end + 1..];
    check_port(port)?;
    let (address, zone) = host[1..end].find("%25").map_or((&host[1..end], ""), |zone| host[1..end].split_at(zone));
    let mut literal = unescape_host(address)?;
    literal.extend(unescape_zone(zone)?);
    if !is_ipv6(&literal) {
        return Err("invalid host: not an IPv6 address");
    }
    Ok([b"[", &literal[..], b"]", port.as_bytes()].concat())
}

/// Whether the octets are an IPv6 address, possibly with a zone that is not empty.
fn is_ipv6(literal: &[u8]) -> bool {
    let (address, zone) = literal
        .iter()
        .position(|&octet| octet == b'%')
        .map_or((literal, None), |percent| (&literal[..percent], Some(&literal[percent + 1..])));
    zone.is_none_or(|zone| !zone.is_empty())
        && std::str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

fn check_port(port: &str) -> Result<(), UriError> {
    match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|octet| octet.is_ascii_digit()) => Ok(()),
        None if port.is_empty() => Ok(()),
        _ => Err("invalid port after host"),
    }
}

/// Returns the octet that two hexadecimal digits after a percent sign stand for.
fn escaped(digits: Option<&[u8]>) -> Result<u8, UriError> {
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match digits {
        Some(&[high, low]) => digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low),
        _ => None,
    }
    .ok_or("invalid URL escape")
}

/// Replaces escapes; `literal` and `escape` say which octets may be there unescaped and escaped.
fn unescape(text: &str, literal: fn(u8) -> bool, escape: fn(u8) -> bool) -> Result<Vec<u8>, UriError> {
    let text = text.as_bytes();
    let mut unescaped = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&octet) = text.get(at) {
        if octet == b'%' {
            let octet = escaped(text.get(at + 1..at + 3))?;
            if octet != b'%' && !escape(octet) {
                return Err("invalid URL escape");
            }
            unescaped.push(octet);
            at += 3;
        } else {
            if !literal(octet) {
                return Err("invalid character in host name");
            }
            unescaped.push(octet);
            at += 1;
        }
    }
    Ok(unescaped)
}

fn check_escapes(text: &str) -> Result<(), UriError> {
    unescape(text, |_| true, |_| true).map(drop)
}

fn unescape_host(text: &str) -> Result<Vec<u8>, UriError> {
    unescape(text, is_host_octet, |octet| octet >= 0x80)
}

fn unescape_zone(text: &str) -> Result<Vec<u8>, UriError> {
    unescape(text, is_host_octet, |octet| octet == b' ' || octet < 0x80 && is_host_octet(octet))
}

fn is_host_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!$&'()*+,;=:[]<>\"-_.~".contains(&octet) || octet >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(uri: &str) -> Option<String> {
        host(uri).ok().map(|host| String::from_utf8_lossy(&host).into_owned())
    }

    #[test]
    fn uris_that_go_takes() {
        for (uri, expected) in [
            ("", ""),
            ("*", ""),
            ("https://example.com/path?%zz#f", "example.com"),
            ("HTTP://a:80", "a:80"),
            ("spiffe://a:b:1/x", "a:b:1"),
            ("urn:anything %zz at all", ""),
            ("//user:pa%20ss@host", "host"),
            ("///a", ""),
            ("x:///a", ""),
            ("/a b", ""),
            ("http://a@b@c", "c"),
            ("http://[::1]:80/", "[::1]:80"),
            ("http://[fe80::1%25en0]/", "[fe80::1%en0]"),
            ("http://[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]"),
            ("http://a\"b<c>", "a\"b<c>"),
            ("http://%25", "%"),
            ("http://a:", "a:"),
            ("#\u{1}", ""),
        ] {
            assert_eq!(text(uri).as_deref(), Some(expected), "{uri}");
        }
    }

    #[test]
    fn uris_that_go_refuses() {
        for uri in [
            ":a",
            "a\u{1}",
            "1:2",
            "a b:c",
            "http://a:b:1",
            "http://a:x",
            "http://a b",
            "http://a%20b",
            "http://a/%zz",
            "/%a",
            "#%a",
            "http://u ser@host",
            "http://u%zz@host",
            "http://a[::1]",
            "http://[::1",
            "http://[1.2.3.4]",
            "http://[::1%25]",
            "http://[::1%en0]",
            "http://[::1]x",
            "http://a^b",
            "http://a`b",
            "http://a\\b",
        ] {
            assert_eq!(text(uri), None, "{uri}");
        }
    }
}
