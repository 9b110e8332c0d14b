//! Placeholder for traces in a program that is built without the feature `otlp`.

use http::HeaderMap;
use tracing::Span;
use tracing_subscriber::{Layer, Registry};

use crate::settings::TracingSettings;

/// The connection to a collector, which cannot be created.
pub enum OtlpExporter {}

/// Receives the spans, beside the log.
pub type SpanLayer = Box<dyn Layer<Registry> + Send + Sync>;

impl OtlpExporter {
    /// Fails, because a setting asks for a feature that was not built.
    pub fn start(_: &TracingSettings, _: &str) -> anyhow::Result<(Self, SpanLayer)> {
        anyhow::bail!(
            "Tracing.Endpoint: this program was built without traces; packages have them, or build it with --features otlp"
        )
    }

    /// Never called.
    pub fn finish(self) {
        match self {}
    }
}

/// Placeholder for the trace of a client.
#[derive(Clone, Debug, Default)]
pub struct RemoteParent;

impl RemoteParent {
    /// Reads nothing from a request's headers.
    pub fn of(_: &HeaderMap) -> Self {
        Self
    }

    /// Does nothing.
    pub fn set_as_parent_of(&self, _: &Span) {}
}
