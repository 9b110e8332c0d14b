//! Who may send how much, who sends how much, and who is refused for it.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use orderer_actors::status::now_ms;
use orderer_core::fairness::SenderShown;
use serde::Serialize;

use super::Shared;
use crate::http::answer::json;

/// Of those who send most. A list of thousands is nothing to look at.
const SHOWN_MAX: usize = 500;

#[derive(Serialize)]
struct Shown {
    now_ms: u64,
    limits: Limits,
    clients: Vec<Sender>,
    organizations: Vec<Sender>,
}

/// In envelopes a second; absent where there is none.
#[derive(Serialize)]
struct Limits {
    rate: Option<u32>,
    client_rate: Option<u32>,
    organization_rate: Option<u32>,
    inactivity_timeout_ms: u64,
}

#[derive(Serialize)]
struct Sender {
    #[serde(flatten)]
    sender: SenderShown,
    refused_at_ms: Option<u64>,
}

pub(super) async fn limits(State(debug): Shared) -> Response {
    let (fairness, uptime, now_ms) = (&debug.context.fairness, debug.context.uptime(), now_ms());
    let limits = fairness.limits();
    let some = |rate: u32| (rate > 0).then_some(rate);
    let senders = |senders: Vec<SenderShown>| {
        let show = |sender: SenderShown| {
            let ago = sender.refused_at.map(|at| uptime.saturating_sub(at));
            Sender { refused_at_ms: ago.map(|ago| now_ms.saturating_sub(millis(ago))), sender }
        };
        senders.into_iter().take(SHOWN_MAX).map(show).collect()
    };
    let shown = Shown {
        now_ms,
        limits: Limits {
            rate: some(limits.all),
            client_rate: some(limits.client),
            organization_rate: some(limits.organization),
            inactivity_timeout_ms: millis(limits.inactivity),
        },
        clients: senders(fairness.clients(uptime)),
        organizations: senders(fairness.organizations(uptime)),
    };
    json(StatusCode::OK, &shown)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
