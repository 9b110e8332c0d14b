//! The cases, in the order of Fabric's recording, and the code that sends them.

pub mod broadcast;
pub mod channel;
pub mod config;
pub mod deliver;

use std::collections::BTreeMap;
use std::time::Duration;

use fabric_proto::common::Envelope;

use crate::world::client::number;
use crate::world::identities::{certificate_of, serialized};
use crate::world::{Client, Step, TestIdentity};

/// The channel of the cases.
pub const MYCHAN: &str = "mychan";

/// The identities that take part.
pub struct Cast {
    pub user: TestIdentity,
    pub admin: TestIdentity,
    pub peer: TestIdentity,
    pub orderer_admin: TestIdentity,
    pub expired: TestIdentity,
    pub not_yet_valid: TestIdentity,
    pub without_role: TestIdentity,
    pub self_signed: TestIdentity,
    pub unknown_msp: TestIdentity,
}

impl Cast {
    fn new() -> Self {
        let user = TestIdentity::user(1);
        let unknown_msp = user.under(serialized("NoMSP", certificate_of(&user.creator)));
        Self {
            user,
            admin: TestIdentity::admin(1),
            peer: TestIdentity::peer(1),
            orderer_admin: TestIdentity::orderer_admin(),
            expired: TestIdentity::issued("client", -48, -24),
            not_yet_valid: TestIdentity::issued("client", 24, 48),
            without_role: TestIdentity::issued("nothing", -1, 1),
            self_signed: TestIdentity::self_signed("client"),
            unknown_msp,
        }
    }
}

/// Sends the requests of the cases and records the responses.
pub struct Script {
    pub client: Client,
    pub cast: Cast,
    /// Cases and responses, in the order in which they were sent.
    pub answers: Vec<(String, String)>,
    /// Number of responses on the streams of cases that stay open. A stream that is silent for `silence` behind them counts
    /// as open.
    open: BTreeMap<String, usize>,
    silence: Duration,
}

impl Script {
    pub fn new(client: Client, golden: &[(String, String)], silence: Duration) -> Self {
        let stays_open = |steps: &str| Some(steps.split(", ").count() - 1).filter(|_| steps.ends_with("still open"));
        let open = golden.iter().filter_map(|(case, steps)| Some((case.clone(), stays_open(steps)?))).collect();
        Self { client, cast: Cast::new(), answers: Vec::new(), open, silence }
    }

    /// Runs a case on one Broadcast stream. Each envelope is sent after the response to the previous one.
    pub async fn broadcast(&mut self, case: &str, envelopes: impl IntoIterator<Item = Envelope>) {
        let mut stream = self.client.broadcasting().await;
        let mut said = Vec::new();
        for envelope in envelopes {
            stream.send(envelope).await;
            let step = stream.next().await;
            said.push(text(&step));
            if matches!(step, Step::End(_)) {
                break;
            }
        }
        if !said.last().is_some_and(|last| is_end(last)) {
            stream.finish();
            said.push(text(&stream.next().await));
        }
        self.answers.push((format!("broadcast/{case}"), said.join(", ")));
    }

    /// Runs a case on one Deliver stream. Each request is sent after the status of the previous one.
    pub async fn deliver(&mut self, case: &str, requests: impl IntoIterator<Item = Envelope>) {
        let case = format!("deliver/{case}");
        let silent_behind = self.open.get(&case).copied();
        let mut stream = self.client.delivering().await;
        let mut said = Vec::new();
        for request in requests {
            stream.send(request).await;
            loop {
                let step = if silent_behind.is_some_and(|count| said.len() >= count) {
                    tokio::time::timeout(self.silence, stream.next_whenever()).await.ok()
                } else {
                    Some(stream.next().await)
                };
                said.push(step.as_ref().map_or_else(|| "still open".to_owned(), text));
                if !matches!(step, Some(Step::Block(_))) {
                    break;
                }
            }
        }
        if !said.last().is_some_and(|last| is_end(last)) {
            stream.finish();
            said.push(text(&stream.next().await));
        }
        self.answers.push((case, said.join(", ")));
    }
}

fn is_end(said: &str) -> bool {
    said == "EOF" || said == "still open" || said.starts_with("error")
}

/// Returns a step in the format of Fabric's recording.
fn text(step: &Step) -> String {
    match step {
        Step::Status(status, _) => status.as_str_name().to_owned(),
        Step::Block(block) => {
            let data = block.data.as_ref().map_or(0, |data| data.data.len());
            let metadata = block.metadata.as_ref().map_or(0, |metadata| metadata.metadata.len());
            format!("{} data={data} meta={metadata}", number(block))
        }
        Step::End(None) => "EOF".to_owned(),
        Step::End(Some((code, message))) => format!("error {code:?}: {message}"),
    }
}
