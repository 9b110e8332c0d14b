//! Spans that follow an envelope and a block, for collectors of traces. Without a collector a span is empty, and creating one
//! costs the read of a number.

use tracing::Span;

/// Logger of all spans: a collector wants them whatever is logged, and a log never does.
pub const TARGET: &str = "orderer.trace";

/// A span, and the part of the way that is gone now.
#[derive(Debug, Default)]
pub struct StagedSpan {
    whole: Option<Span>,
    stage: Option<Span>,
}

/// Returns whether spans are collected now.
#[inline]
pub fn is_enabled() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::DEBUG)
}

impl StagedSpan {
    /// Wraps this span; the result is empty if the span is disabled.
    pub fn new(span: Span) -> Self {
        Self { whole: (!span.is_disabled()).then_some(span), stage: None }
    }

    /// Wraps the thread's current span; the result is empty if tracing is off.
    pub fn current() -> Self {
        if is_enabled() { Self::new(Span::current()) } else { Self::default() }
    }

    /// The span as a whole.
    pub fn span(&self) -> Option<&Span> {
        self.whole.as_ref()
    }

    /// Performs work within the span.
    pub fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.whole {
            Some(whole) => whole.in_scope(work),
            None => work(),
        }
    }

    /// The part of the way before this one has ended, and this one begins.
    #[inline]
    pub fn enter_stage(&mut self, stage: &'static str) {
        if let Some(whole) = &self.whole {
            // what was before ends first
            self.stage = None;
            self.stage = Some(tracing::debug_span!(target: TARGET, parent: whole, "stage", otel.name = stage));
        }
    }

    /// The last part of the way has ended.
    pub fn end_stage(&mut self) {
        self.stage = None;
    }
}
