//! What the service manager is told (systemd's protocol, which others speak too): when the node serves, what it is doing, and
//! that it lives. Without `NOTIFY_SOCKET` nothing is sent.

use std::sync::Arc;
use std::time::Duration;

use orderer_actors::NodeContext;
use orderer_actors::channel::{ChannelState, Entry};
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// So often its status is looked at, and whether the tree's threads answer, unless the watchdog wants it more often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// So many channels are named in the status.
const NAMED_MAX: usize = 3;

/// The node serves; also what ends a [`reloading`].
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Files are read anew.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The node is ending.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: answering what is in flight")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(target: "orderer.node", %error, "the service manager cannot be told");
    }
}

/// Tells what the channels do whenever that changes, and feeds the manager's watchdog as long as ours finds that every thread
/// of the tree answers, until `ended`. An actor that is stuck without its thread (in a commit, say) is for ours alone: to end
/// the process would cost all other channels.
pub(crate) async fn keep_informed(context: Arc<NodeContext>, ended: CancellationToken) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled();
    // fed twice as often as it wants, and asked twice as often as it is fed
    let every = watchdog.map_or(LOOK_EVERY, |limit| (limit / 4).min(LOOK_EVERY));
    let mut said = String::new();
    let mut missed = 0_u32;
    loop {
        let now = status(&context);
        if now != said {
            tell(&[NotifyState::Status(&now)]);
            said = now;
        }
        if watchdog.is_some() {
            if context.board.threads_answer() {
                missed = 0;
                tell(&[NotifyState::Watchdog]);
            } else {
                missed += 1;
                if missed == 2 {
                    tracing::error!(target: "orderer.node", "a thread of the actors does not answer: the watchdog is not fed");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = ended.cancelled() => return,
        }
    }
}

/// The channels in a line.
fn status(context: &NodeContext) -> String {
    let all = context.directory.all();
    let running = |entry: &Entry| matches!(entry, Entry::Open(channel) if channel.state() == ChannelState::Running);
    let (well, other): (Vec<_>, Vec<_>) = all.iter().partition(|(_, entry)| running(entry));
    let line = format!("{} of {} channels running", well.len(), all.len());
    if other.is_empty() {
        return line;
    }
    let names: Vec<&str> = other.iter().take(NAMED_MAX).map(|(id, _)| id.as_str()).collect();
    let more = if other.len() > names.len() { ", .." } else { "" };
    format!("{line}; not running: {}{more}", names.join(", "))
}
