//! The signals that the node listens to.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT.
pub(crate) struct Ends(Option<(Signal, Signal)>);

impl Ends {
    /// From now on they end nothing by themselves. To be called within a runtime.
    pub(crate) fn new() -> Self {
        let both = signal(SignalKind::terminate()).and_then(|t| Ok((t, signal(SignalKind::interrupt())?)));
        let complain = |error: &std::io::Error| {
            tracing::error!(target: "orderer.node", %error, "signals cannot be received, only SIGKILL ends the node");
        };
        Self(both.inspect_err(complain).ok())
    }

    /// Waits for one of them, which may have come before; gives back its name.
    ///
    /// # Cancel safety
    /// None is lost.
    pub(crate) async fn next(&mut self) -> &'static str {
        let Some((terminate, interrupt)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    }
}

/// SIGHUP, as often as it comes.
pub(crate) struct Hangups(Option<Signal>);

impl Hangups {
    /// From now on.
    pub(crate) fn new() -> Self {
        let hangups = signal(SignalKind::hangup());
        Self(hangups.inspect_err(|error| tracing::warn!(target: "orderer.node", %error, "SIGHUP is not received")).ok())
    }

    /// Waits for the next one.
    ///
    /// # Cancel safety
    /// None is lost.
    pub(crate) async fn next(&mut self) {
        let received = match &mut self.0 {
            Some(hangups) => hangups.recv().await,
            None => None,
        };
        if received.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
