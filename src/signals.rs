//! The signals that the node listens to.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for SIGTERM or SIGINT; gives back its name.
pub(crate) async fn ended() -> &'static str {
    let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(target: "orderer.node", %error, "signals cannot be received, only SIGKILL ends the node");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
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
