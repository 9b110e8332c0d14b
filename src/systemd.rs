//! Notifies the service manager (systemd's protocol, which others use too): when the node serves, what it is doing,
//! and that it is alive. Without `NOTIFY_SOCKET` nothing is sent.

use std::sync::Arc;
use std::time::Duration;

use orderer_actors::NodeContext;
use orderer_actors::channel::{ChannelEntry, ChannelState};
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// Interval at which the status and the responsiveness of the tree's threads are checked, unless the watchdog needs
/// it shorter.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Maximum number of channels named in the status.
const NAMED_MAX: usize = 3;

/// Reports that the node serves; also ends a [`reloading`].
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Reports that files are being read again.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Reports that the node is stopping.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: completing requests in flight")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(target: "orderer.node", %error, "failed to notify the service manager");
    }
}

/// Reports the channels' status whenever it changes, and feeds the manager's watchdog as long as the node's own finds
/// that every thread of the tree responds, until `ended`. An actor that is stuck without its thread (in a commit,
/// say) concerns the node's own watchdog alone, because ending the process would cost all other channels.
pub(crate) async fn run_notifier(context: Arc<NodeContext>, ended: CancellationToken) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled();
    // four checks within the limit; each feeds it, unless a thread does not respond
    let every = watchdog.map_or(POLL_INTERVAL, |limit| (limit / 4).min(POLL_INTERVAL));
    let mut said = String::new();
    let mut missed = 0_u32;
    loop {
        let now = status(&context);
        if now != said {
            tell(&[NotifyState::Status(&now)]);
            said = now;
        }
        if watchdog.is_some() {
            if context.status_board.arbiters_responsive() {
                missed = 0;
                tell(&[NotifyState::Watchdog]);
            } else {
                missed += 1;
                if missed == 2 {
                    tracing::error!(target: "orderer.node", "actor thread is not responding; the watchdog of systemd is not notified");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = ended.cancelled() => return,
        }
    }
}

/// Returns the channels' status in a line.
fn status(context: &NodeContext) -> String {
    let all = context.directory.entries();
    let running =
        |entry: &ChannelEntry| matches!(entry, ChannelEntry::Open(channel) if channel.state() == ChannelState::Running);
    let (well, other): (Vec<_>, Vec<_>) = all.iter().partition(|(_, entry)| running(entry));
    let line = format!("{} of {} channels running", well.len(), all.len());
    if other.is_empty() {
        return line;
    }
    let names: Vec<&str> = other.iter().take(NAMED_MAX).map(|(id, _)| id.as_str()).collect();
    let more = if other.len() > names.len() { ", .." } else { "" };
    format!("{line}; not running: {}{more}", names.join(", "))
}
