//! Responses in Fabric's form: JSON, and for an error a JSON object with the key `error`.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::connection::ConnectInfo;

/// Maximum size in bytes of an error's text.
const ERROR_MAX_BYTES: usize = 4 << 10;

/// The response to a rejected request.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    error: String,
    /// The allowed methods, if the method was not.
    allow: Option<&'static str>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), allow: None }
    }

    pub(super) fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(super) fn not_allowed(allow: &'static str, error: impl Into<String>) -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, error: error.into(), allow: Some(allow) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: String,
        }
        let mut response = json(self.status, &Body { error: self.error });
        if let Some(allow) = self.allow {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// Returns a JSON text and a line feed, as Go's encoder writes it.
pub(super) fn json(status: StatusCode, content: &impl Serialize) -> Response {
    match serde_json::to_string(content) {
        Ok(text) => (status, [(header::CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Rejects a client that does not accept JSON.
pub(super) async fn require_json_accept(request: Request, next: Next) -> Response {
    let takes = accepts_json(request.headers());
    if takes {
        next.run(request).await
    } else {
        ApiError::new(StatusCode::NOT_ACCEPTABLE, "response Content-Type is application/json only").into_response()
    }
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let wanted: Vec<&str> = accept.flat_map(|value| value.split(',')).filter(|kind| !kind.trim().is_empty()).collect();
    let takes = |kind: &&str| ["application/json", "application/*", "*/*"].iter().any(|json| kind.contains(json));
    wanted.is_empty() || wanted.iter().any(takes)
}

/// Rejects a client without a certificate.
pub(super) async fn require_client_certificate(request: Request, next: Next) -> Response {
    let info = request.extensions().get::<ConnectInfo>();
    if info.is_some_and(|info| info.tls_certificate_hash.is_some()) {
        next.run(request).await
    } else {
        ApiError::new(StatusCode::UNAUTHORIZED, "a client certificate is needed for this").into_response()
    }
}

/// Converts errors that come from before any handler into JSON, too.
pub(super) async fn errors_in_json(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let is_json = |response: &Response| {
        let content = response.headers().get(header::CONTENT_TYPE);
        content.is_some_and(|content| content.as_bytes().starts_with(b"application/json"))
    };
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_json(&response) {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let said = axum::body::to_bytes(response.into_body(), ERROR_MAX_BYTES).await.unwrap_or_default();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let said = if said.is_empty() { status.canonical_reason().unwrap_or("refused").to_owned() } else { said };
    let mut response = ApiError::new(status, said).into_response();
    if let Some(allow) = allow {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Responds to paths that do not exist.
pub(super) async fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "there is nothing here")
}

pub(super) fn wrong_method(method: &Method, allow: &'static str) -> ApiError {
    ApiError::not_allowed(allow, format!("invalid request method: {method}"))
}
