//! Logs each request that changes something: the client, its address, the request and the result.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::FromDer as _;

use crate::connection::ConnectInfo;

/// The subject of the client's certificate, in every request of its connection.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientSubject(Option<Arc<str>>);

impl ClientSubject {
    pub(super) fn certificate(shown: Option<&CertificateDer<'_>>) -> Self {
        let parsed = shown.and_then(|der| x509_parser::certificate::X509Certificate::from_der(der).ok());
        Self(parsed.map(|(_, certificate)| certificate.subject().to_string().into()))
    }
}

/// Logs requests that may change something, rejected ones included.
pub(super) async fn audited(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<ConnectInfo>().map(|info| info.peer);
    let client = request.extensions().get::<ClientSubject>().and_then(|shown| shown.0.clone());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let client = client.as_deref().unwrap_or("no certificate");
    // the name of a channel that was joined
    let made = response.headers().get(header::LOCATION).and_then(|place| place.to_str().ok()).unwrap_or_default();
    let peer = peer.map_or_else(String::new, |peer| peer.to_string());
    tracing::info!(target: "orderer.audit", %method, ?path, status = response.status().as_u16(), client = ?client, peer, made,
        "requested by an operator");
    response
}
