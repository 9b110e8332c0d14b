//! The client's trace, from its request's headers (`traceparent`, W3C Trace Context).

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The client's trace; empty if the client has none or tracing is disabled.
#[derive(Clone, Debug, Default)]
pub struct RemoteParent(Option<Context>);

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

impl RemoteParent {
    /// Reads the trace from a request's headers.
    pub fn of(headers: &HeaderMap) -> Self {
        if !orderer_actors::trace::is_enabled() {
            return Self::default();
        }
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
        Self(context.span().span_context().is_valid().then_some(context))
    }

    /// Makes a new span part of the client's trace.
    pub fn set_as_parent_of(&self, span: &Span) {
        if let Some(context) = &self.0 {
            // an error: no layer receives this span
            let _ = span.set_parent(context.clone());
        }
    }
}
