//! What stands for traces in a program that is built without the feature `otlp`.

use http::HeaderMap;
use tracing::Span;
use tracing_subscriber::{Layer, Registry};

use crate::settings::TracingSettings;

/// The way to a collector, which nothing makes.
pub enum Traces {}

/// What hears the spans, beside the log.
pub type SpanLayer = Box<dyn Layer<Registry> + Send + Sync>;

impl Traces {
    /// Fails: a setting asks for what is not there.
    pub fn start(_: &TracingSettings, _: &str) -> anyhow::Result<(Self, SpanLayer)> {
        anyhow::bail!(
            "Tracing.Endpoint: this program was built without traces; packages have them, or build it with --features otlp"
        )
    }

    /// Ends it.
    pub fn finish(self) {
        match self {}
    }
}

/// The trace that a client is in, of which nobody is told.
#[derive(Clone, Debug, Default)]
pub struct Parent;

impl Parent {
    /// Of a request with these headers.
    pub fn of(_: &HeaderMap) -> Self {
        Self
    }

    /// Does nothing.
    pub fn adopt(&self, _: &Span) {}
}
