//! The signals that the node handles.

use orderer_actors::status::StatusBoard;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// SIGTERM and SIGINT, which end the node.
pub(crate) struct TerminationSignals(Option<(Signal, Signal)>);

impl TerminationSignals {
    /// Installs the handlers; the signals no longer end the process by themselves. Call it within a runtime.
    pub(crate) fn new() -> Self {
        let both = signal(SignalKind::terminate()).and_then(|t| Ok((t, signal(SignalKind::interrupt())?)));
        let complain = |error: &std::io::Error| {
            tracing::error!(target: "orderer.node", %error, "failed to handle signals: only SIGKILL terminates the node");
        };
        Self(both.inspect_err(complain).ok())
    }

    /// Waits for one of them, which may have come before; returns its name.
    ///
    /// # Cancel safety
    /// No signal is lost.
    pub(crate) async fn next(&mut self) -> &'static str {
        let Some((terminate, interrupt)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    }
}

/// SIGHUP, which reloads files.
pub(crate) struct HangupSignals(Option<Signal>);

impl HangupSignals {
    /// Installs the handler. Call it within a runtime.
    pub(crate) fn new() -> Self {
        let hangups = signal(SignalKind::hangup());
        Self(hangups.inspect_err(|error| tracing::warn!(target: "orderer.node", %error, "failed to handle SIGHUP: the signal will terminate the node")).ok())
    }

    /// Waits for the next one.
    ///
    /// # Cancel safety
    /// No signal is lost.
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

/// SIGUSR1, which dumps the actors.
pub(crate) struct DumpSignals(Option<Signal>);

impl DumpSignals {
    /// Installs the handler; the signal no longer ends the process. Call it within a runtime.
    pub(crate) fn new() -> Self {
        let asked = signal(SignalKind::user_defined1());
        let complain = |error: &std::io::Error| {
            tracing::warn!(target: "orderer.node", %error, "failed to handle SIGUSR1: the signal will terminate the node");
        };
        Self(asked.inspect_err(complain).ok())
    }

    /// Writes the actor tree to the log whenever SIGUSR1 comes, until `stopping`: each actor with its state, its
    /// mailbox depth and its current activity.
    pub(crate) async fn report(self, board: StatusBoard, stopping: CancellationToken) {
        let Some(mut asked) = self.0 else { return };
        loop {
            tokio::select! {
                received = asked.recv() => if received.is_none() { return },
                () = stopping.cancelled() => return,
            }
            report(&board);
        }
    }
}

fn report(board: &StatusBoard) {
    let all = board.all();
    tracing::info!(target: "orderer.actors", actors = all.len(), "SIGUSR1 received: reporting the actor tree");
    for (path, cell) in all {
        let (report, mailbox) = (cell.report(), cell.mailbox());
        let in_hand = cell.current_activity().map(|in_hand| format!("{} for {} ms", in_hand.message, in_hand.for_ms));
        tracing::info!(target: "orderer.actors", actor = %path, state = %report.state, detail = %report.detail,
            waiting = mailbox.depth, most = mailbox.high_water, handled = cell.handled(), restarts = report.restarts,
            in_hand = in_hand.as_deref().unwrap_or("nothing"), "actor");
    }
    for pulse in board.heartbeats() {
        tracing::info!(target: "orderer.actors", thread = pulse.index, stuck = pulse.stuck, silent_ms = pulse.silent_ms,
            "thread of actors");
    }
}
