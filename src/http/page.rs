//! The dashboard for operators on call, at `/debug/`: HTML, CSS and JavaScript modules that are part of the binary,
//! need no build step and load nothing from elsewhere. They read their data from the other endpoints.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use orderer_core::crypto::{hex, sha256};

use super::response::{ApiError, not_found, wrong_method};

/// Scripts, styles and requests are the node's own; nothing is framed, embedded or sent elsewhere, and no text from a
/// client becomes a script.
const CONTENT_SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                                connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                                require-trusted-types-for 'script'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// One file of the dashboard.
struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
    tag: HeaderValue,
}

macro_rules! assets {
    ($($name:literal: $kind:expr),* $(,)?) => {
        vec![$(Asset::new($name, $kind, include_str!(concat!("page/", $name)))),*]
    };
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    assets![
        "index.html": HTML,
        "style.css": CSS,
        "icon.svg": SVG,
        "app.js": SCRIPT,
        "chart.js": SCRIPT,
        "clipboard.js": SCRIPT,
        "data.js": SCRIPT,
        "dialog.js": SCRIPT,
        "dom.js": SCRIPT,
        "events.js": SCRIPT,
        "format.js": SCRIPT,
        "health.js": SCRIPT,
        "history.js": SCRIPT,
        "parts.js": SCRIPT,
        "shortcuts.js": SCRIPT,
        "table.js": SCRIPT,
        "views/actors.js": SCRIPT,
        "views/block.js": SCRIPT,
        "views/certificates.js": SCRIPT,
        "views/changes.js": SCRIPT,
        "views/channel.js": SCRIPT,
        "views/channel_config.js": SCRIPT,
        "views/channels.js": SCRIPT,
        "views/kafka.js": SCRIPT,
        "views/limits.js": SCRIPT,
        "views/logs.js": SCRIPT,
        "views/node.js": SCRIPT,
        "views/orderers.js": SCRIPT,
        "views/refusals.js": SCRIPT,
        "views/restart.js": SCRIPT,
        "views/settings.js": SCRIPT,
        "views/streams.js": SCRIPT,
        "views/transaction.js": SCRIPT,
        "views/unknown.js": SCRIPT,
    ]
});

impl Asset {
    fn new(name: &'static str, kind: &'static str, content: &'static str) -> Self {
        let tag = format!("\"{}\"", &hex(&sha256(&[content.as_bytes()]))[..32]);
        Self { name, kind, content, tag: HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\"")) }
    }

    /// Responds with the file, or with Not Modified.
    fn answer(&self, asked: &HeaderMap) -> Response {
        let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let tag = self.tag.to_str().unwrap_or_default();
        let same = known.flat_map(|value| value.split(',')).any(|known| known.trim().trim_start_matches("W/") == tag);
        let mut response = if same {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(header::CONTENT_TYPE, self.kind)], self.content).into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.clone());
        // cached, and revalidated each time: another binary may be at the same address tomorrow
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}

/// Returns the routes of the dashboard.
pub(super) fn page() -> Router {
    let to_page = || async { Redirect::permanent("/debug/") };
    let from_root = || async { Redirect::temporary("/debug/") };
    Router::new()
        .route("/", get(from_root).fallback(only_get))
        .route("/debug", get(to_page).fallback(only_get))
        .route("/debug/", get(index).fallback(only_get))
        .route("/debug/page/{*file}", get(asset).fallback(only_get))
}

async fn only_get(method: Method) -> ApiError {
    wrong_method(&method, "GET")
}

async fn index(headers: HeaderMap) -> Response {
    find("index.html", &headers).await
}

async fn asset(Path(file): Path<String>, headers: HeaderMap) -> Response {
    find(&file, &headers).await
}

async fn find(name: &str, headers: &HeaderMap) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => asset.answer(headers),
        None => not_found().await.into_response(),
    }
}
