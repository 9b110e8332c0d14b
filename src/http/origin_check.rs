//! Rejects requests that another site's page sends to this node through its reader's browser, unless they only read:
//! the browser would not show that site the response, but the request would have taken effect.
//!
//! Browsers send the site of the page that requests a change (`ConfigSource`); tools send none, and are not checked. A page
//! is this node's own if its site is the requested address (`Host`). That alone proves nothing for a site that has
//! its own name resolve to this node once the page is loaded (DNS rebinding): so the name must be one that no
//! stranger can own, or the page have come over TLS, for which the stranger has no certificate.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::response::ApiError;

/// Reason for which a page is not this node's own.
#[derive(Debug, PartialEq, Eq)]
enum CrossOrigin {
    /// The page's site is not the requested address.
    Elsewhere,
    /// The page's site is the requested address, but a stranger could own that name.
    Anybodys,
}

/// Rejects pages of other sites; `listens_on` is the host of this listener in the configuration.
pub(super) async fn require_same_origin(State(listens_on): State<Arc<str>>, request: Request, next: Next) -> Response {
    match refusal(&request, &listens_on) {
        Some(refused) => refused.into_response(),
        None => next.run(request).await,
    }
}

fn refusal(request: &Request, listens_on: &str) -> Option<ApiError> {
    if request.method().is_safe() {
        return None;
    }
    let text = |name| request.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let origin = text(header::ORIGIN)?;
    // over HTTP/2 the host is part of the address
    let host = text(header::HOST).or_else(|| request.uri().authority().map(|authority| authority.as_str().into()));
    let host = host.unwrap_or_default();
    let why = match judge(&origin, &host, listens_on)? {
        CrossOrigin::Elsewhere => format!(
            "asked for by a page of another site: {origin:?} is not {host:?}, which was asked; a proxy in between has to \
             pass Host on"
        ),
        CrossOrigin::Anybodys => format!(
            "asked for by a page at {origin:?}, a name that another site could have made lead here: open the page by an IP \
             address, as localhost, by the host in ListenAddress, or over HTTPS"
        ),
    };
    Some(ApiError::new(StatusCode::FORBIDDEN, why))
}

fn judge(origin: &str, host: &str, listens_on: &str) -> Option<CrossOrigin> {
    let (scheme, site) = origin.split_once("://").unwrap_or_default();
    if site.is_empty() || !site.eq_ignore_ascii_case(host) {
        return Some(CrossOrigin::Elsewhere);
    }
    // over plaintext with this origin: through a proxy that has a certificate for the name
    if scheme == "https" {
        return None;
    }
    let Ok(site) = site.parse::<Authority>() else { return Some(CrossOrigin::Anybodys) };
    (!is_nobody_elses(site.host(), listens_on)).then_some(CrossOrigin::Anybodys)
}

/// Returns whether no stranger can make this name resolve to this node: addresses, this machine, names without a dot,
/// which only the own network resolves, and the name in the configuration.
pub(super) fn is_nobody_elses(name: &str, listens_on: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    bare.parse::<IpAddr>().is_ok()
        || !name.contains('.')
        || name.ends_with(".localhost")
        || name.eq_ignore_ascii_case(listens_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_this_nodes_if_no_stranger_can_have_its_address() {
        let cases = [
            ("http://127.0.0.1:8443", "127.0.0.1:8443", None),
            ("http://[::1]:8443", "[::1]:8443", None),
            ("http://localhost:8443", "localhost:8443", None),
            ("http://LOCALHOST:8443", "localhost:8443", None),
            ("http://app.localhost", "app.localhost", None),
            ("http://orderer0-operations:8443", "orderer0-operations:8443", None),
            ("http://orderer.example.com:9443", "orderer.example.com:9443", None),
            ("https://orderer.corp.example", "orderer.corp.example", None),
            ("http://rebound.example:8443", "rebound.example:8443", Some(CrossOrigin::Anybodys)),
            ("http://127.0.0.1.rebound.example", "127.0.0.1.rebound.example", Some(CrossOrigin::Anybodys)),
            ("http://localhost.rebound.example", "localhost.rebound.example", Some(CrossOrigin::Anybodys)),
            ("http://orderer.example.com.evil", "orderer.example.com.evil", Some(CrossOrigin::Anybodys)),
            ("http://com.:8443", "com.:8443", Some(CrossOrigin::Anybodys)),
            ("http://a b", "a b", Some(CrossOrigin::Anybodys)),
            ("http://elsewhere.example", "127.0.0.1:8443", Some(CrossOrigin::Elsewhere)),
            ("http://127.0.0.1:3000", "127.0.0.1:8443", Some(CrossOrigin::Elsewhere)),
            ("https://elsewhere.example", "localhost:8443", Some(CrossOrigin::Elsewhere)),
            ("null", "127.0.0.1:8443", Some(CrossOrigin::Elsewhere)),
            ("null", "", Some(CrossOrigin::Elsewhere)),
            ("", "", Some(CrossOrigin::Elsewhere)),
            ("http://", "", Some(CrossOrigin::Elsewhere)),
        ];
        for (origin, host, verdict) in cases {
            assert_eq!(judge(origin, host, "orderer.example.com"), verdict, "{origin} asks {host}");
        }
    }
}
