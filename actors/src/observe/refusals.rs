//! The newest refused envelopes: who, why, and how the policy was judged. Only refusals pay for it, some 10 µs each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use fabric_proto::common::{HeaderType, Status};
use orderer_core::envelope::Message;
use orderer_core::identity::describe;
use orderer_core::policy::Verdict;
use serde::Serialize;

use crate::status::now_ms;

/// So many are remembered.
const REMEMBERED: usize = 1000;
/// And of each text so many bytes: who is refused decides how long it is.
const TEXT_MAX_BYTES: usize = 2048;

/// An envelope that was refused.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedEnvelope {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// As the envelope says.
    pub channel: String,
    /// As the envelope says.
    pub tx_id: String,
    /// The channel header's type.
    pub r#type: String,
    /// The answer.
    pub status: &'static str,
    /// What the client was told.
    pub why: String,
    /// Who signed it, as far as it says.
    pub who: Option<Who>,
    /// If a policy was not satisfied.
    pub policy: Option<Verdict>,
}

/// The creator of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Who {
    /// Of its organization.
    pub msp_id: String,
    /// Of its certificate; empty if that cannot be read.
    pub subject: String,
    /// Those in the subject.
    pub organizational_units: Vec<String>,
    /// Of its certificate.
    pub issuer: String,
    /// When it expires, in milliseconds since 1970.
    pub not_after_ms: Option<i64>,
}

impl RefusedEnvelope {
    /// Just now. `message` if it could be read.
    pub fn new(message: Option<&Message>, status: Status, why: String, policy: Option<Verdict>) -> Self {
        let creator = message.and_then(|message| message.read_signature_header().ok()).map(|header| header.creator);
        let header = message.map(|message| &message.channel_header);
        let kind = |number: i32| {
            HeaderType::try_from(number).map_or_else(|_| number.to_string(), |t| t.as_str_name().to_owned())
        };
        Self {
            at_ms: now_ms(),
            channel: header.map(|header| header.channel_id.clone()).unwrap_or_default(),
            tx_id: header.map(|header| header.tx_id.clone()).unwrap_or_default(),
            r#type: header.map(|header| kind(header.r#type)).unwrap_or_default(),
            status: status.as_str_name(),
            why,
            who: creator.and_then(|creator| Who::of(&creator)),
            policy,
        }
    }
}

impl Who {
    /// The creator of an envelope; `None` if it is none.
    pub fn of(creator: &[u8]) -> Option<Self> {
        let (msp_id, certificate) = describe(creator).filter(|(msp_id, _)| !msp_id.is_empty())?;
        let Some(facts) = certificate else {
            let (subject, issuer) = (String::new(), String::new());
            return Some(Self { msp_id, subject, organizational_units: Vec::new(), issuer, not_after_ms: None });
        };
        Some(Self {
            msp_id,
            subject: facts.subject,
            organizational_units: facts.organizational_units,
            issuer: facts.issuer,
            not_after_ms: Some(facts.not_after.0.saturating_mul(1000)),
        })
    }
}

/// What is shown of them.
#[derive(Debug, Serialize)]
pub struct RefusalsShown {
    /// Since the start.
    pub total: u64,
    /// The same by status.
    pub by_status: BTreeMap<&'static str, u64>,
    /// Newest first.
    pub refusals: Vec<RefusedEnvelope>,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    newest: VecDeque<RefusedEnvelope>,
    by_status: BTreeMap<&'static str, u64>,
}

impl Refusals {
    /// One more.
    pub fn note(&self, mut refused: RefusedEnvelope) {
        for text in [&mut refused.channel, &mut refused.tx_id, &mut refused.why] {
            shorten(text);
        }
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *book.by_status.entry(refused.status).or_default() += 1;
        if book.newest.len() == REMEMBERED {
            book.newest.pop_front();
        }
        book.newest.push_back(refused);
    }

    /// How many there were since the start.
    pub fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_status.values().sum()
    }

    /// The newest, of one channel or all.
    pub fn newest(&self, channel: Option<&str>, limit: usize) -> RefusalsShown {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = book.newest.iter().rev().filter(|refused| channel.is_none_or(|name| refused.channel == name));
        RefusalsShown {
            total: book.by_status.values().sum(),
            by_status: book.by_status.clone(),
            refusals: wanted.take(limit).cloned().collect(),
        }
    }
}

fn shorten(text: &mut String) {
    if text.len() > TEXT_MAX_BYTES {
        let mut end = TEXT_MAX_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("..");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered_and_all_are_counted() {
        let refusals = Refusals::default();
        for number in 0..1500_u64 {
            refusals.note(RefusedEnvelope {
                at_ms: number,
                channel: if number % 2 == 0 { "even" } else { "odd" }.to_owned(),
                tx_id: String::new(),
                r#type: "MESSAGE".to_owned(),
                status: Status::Forbidden.as_str_name(),
                why: "é".repeat(5000),
                who: None,
                policy: None,
            });
        }
        let shown = refusals.newest(None, 2000);
        assert_eq!((shown.total, shown.refusals.len(), shown.by_status["FORBIDDEN"]), (1500, 1000, 1500));
        assert_eq!(refusals.newest(Some("odd"), 2000).refusals.len(), 500);
        let newest = refusals.newest(None, 1).refusals.remove(0);
        assert!(newest.at_ms == 1499 && newest.why.len() < 2100, "{}", newest.why.len());
    }
}
