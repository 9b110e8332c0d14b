//! The newest rejected envelopes: signer, reason, and the policy's verdict. Only rejections pay for it, some 10 µs each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{ChannelHeader, HeaderType, SignatureHeader, Status};
use orderer_core::envelope::ParsedEnvelope;
use orderer_core::identity::describe;
use orderer_core::policy::PolicyExplanation;
use serde::Serialize;

use crate::status::now_ms;
use orderer_core::text::truncate_at_char_boundary;

/// Maximum number of retained rejections.
const REJECTIONS_CAPACITY: usize = 1000;
/// Maximum length of each retained text, in bytes, because the rejected client decides how long it is.
const MAX_TEXT_BYTES: usize = 2048;
/// Maximum number of retained units of a subject.
const MAX_UNITS: usize = 16;

/// A rejected envelope.
#[derive(Clone, Debug, Serialize)]
pub struct RejectedEnvelope {
    /// Time of the rejection, in milliseconds since 1970.
    pub at_ms: u64,
    /// The channel's name, as the envelope says.
    pub channel: String,
    /// The transaction ID, as the envelope says.
    pub tx_id: String,
    /// The channel header's type.
    pub r#type: String,
    /// The answer.
    pub status: &'static str,
    /// The text that the client received.
    pub why: String,
    /// The signer, as far as the envelope says.
    pub who: Option<SignerInfo>,
    /// If a policy was not satisfied.
    pub policy: Option<PolicyExplanation>,
}

/// The creator of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignerInfo {
    /// The MSP ID of its organization.
    pub msp_id: String,
    /// The subject of its certificate; empty if that cannot be read.
    pub subject: String,
    /// The organizational units of the subject.
    pub organizational_units: Vec<String>,
    /// The issuer of its certificate.
    pub issuer: String,
    /// Expiry of its certificate, in milliseconds since 1970.
    pub not_after_ms: Option<i64>,
}

impl RejectedEnvelope {
    /// Creates the record of an envelope that was rejected just now. `message` is given if it could be read.
    pub fn new(
        message: Option<&ParsedEnvelope>,
        status: Status,
        why: String,
        policy: Option<PolicyExplanation>,
    ) -> Self {
        let headers = message.map(|message| (&message.channel_header, &message.signature_header));
        Self::of_headers(headers, status, why, policy)
    }

    /// Creates the record of an envelope that was rejected just now, from its headers if they could be read.
    pub(super) fn of_headers(
        headers: Option<(&ChannelHeader, &Bytes)>,
        status: Status,
        why: String,
        policy: Option<PolicyExplanation>,
    ) -> Self {
        let header = headers.map(|(header, _)| header);
        let signature_header = headers.and_then(|(_, signature)| SignatureHeader::decode(signature.clone()).ok());
        let creator = signature_header.map(|header| header.creator);
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
            who: creator.and_then(|creator| SignerInfo::of(&creator)),
            policy,
        }
    }
}

impl SignerInfo {
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

/// The rejections, for views.
#[derive(Debug, Serialize)]
pub struct RejectionLogView {
    /// Since the start.
    pub total: u64,
    /// Number of rejections since the start, by status.
    pub by_status: BTreeMap<&'static str, u64>,
    /// Newest first.
    pub refusals: Vec<Arc<RejectedEnvelope>>,
}

/// The last rejected envelopes of a node, and their number by status.
#[derive(Debug, Default)]
pub struct RejectionLog(Mutex<RejectionBuffer>);

#[derive(Debug, Default)]
struct RejectionBuffer {
    newest: VecDeque<Arc<RejectedEnvelope>>,
    by_status: BTreeMap<&'static str, u64>,
}

impl RejectionLog {
    /// Records a rejection.
    pub fn note(&self, mut refused: RejectedEnvelope) {
        refused.shorten();
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *book.by_status.entry(refused.status).or_default() += 1;
        if book.newest.len() == REJECTIONS_CAPACITY {
            book.newest.pop_front();
        }
        book.newest.push_back(Arc::new(refused));
    }

    /// Counts a rejection like one that was recorded just now.
    pub(super) fn count(&self, status: Status) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *book.by_status.entry(status.as_str_name()).or_default() += 1;
    }

    /// Returns the number of rejections since the start.
    pub fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_status.values().sum()
    }

    /// The newest, of one channel or all.
    pub fn newest(&self, channel: Option<&str>, limit: usize) -> RejectionLogView {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = book.newest.iter().rev().filter(|refused| channel.is_none_or(|name| refused.channel == name));
        RejectionLogView {
            total: book.by_status.values().sum(),
            by_status: book.by_status.clone(),
            refusals: wanted.take(limit).cloned().collect(),
        }
    }
}

impl RejectedEnvelope {
    /// Shortens all texts, because the rejected client decides how long they are.
    fn shorten(&mut self) {
        for text in [&mut self.channel, &mut self.tx_id, &mut self.why] {
            truncate_at_char_boundary(text, MAX_TEXT_BYTES);
        }
        if let Some(who) = &mut self.who {
            who.organizational_units.truncate(MAX_UNITS);
            who.organizational_units.shrink_to_fit();
            let texts = [&mut who.msp_id, &mut who.subject, &mut who.issuer];
            texts
                .into_iter()
                .chain(&mut who.organizational_units)
                .for_each(|text| truncate_at_char_boundary(text, MAX_TEXT_BYTES));
        }
        if let Some(policy) = &mut self.policy {
            shorten_verdict(policy);
        }
    }
}

/// Shortens a verdict's texts. It recurses as deep as policies are nested, and covers no more rules than a verdict has.
fn shorten_verdict(verdict: &mut PolicyExplanation) {
    if let Some(signers) = &mut verdict.signers {
        truncate_at_char_boundary(signers, MAX_TEXT_BYTES);
    }
    for principal in &mut verdict.principals {
        truncate_at_char_boundary(&mut principal.why, MAX_TEXT_BYTES);
    }
    verdict.below.iter_mut().for_each(shorten_verdict);
}

#[cfg(test)]
mod tests {
    use orderer_core::policy::PrincipalResult;

    use super::*;

    #[test]
    fn no_text_of_a_refused_envelope_is_kept_whole_however_long() {
        let long = || "x".repeat(1 << 20);
        let who = SignerInfo {
            msp_id: long(),
            subject: long(),
            organizational_units: vec![long(); 100],
            issuer: long(),
            not_after_ms: None,
        };
        let principal = PrincipalResult { principal: "Org1MSP.client".to_owned(), satisfied: false, why: long() };
        let below = PolicyExplanation { principals: vec![principal], signers: None, ..verdict(long()) };
        let refused = RejectedEnvelope {
            at_ms: 0,
            channel: long(),
            tx_id: long(),
            r#type: "MESSAGE".to_owned(),
            status: Status::Forbidden.as_str_name(),
            why: long(),
            who: Some(who),
            policy: Some(PolicyExplanation { below: vec![below], ..verdict(long()) }),
        };
        let refusals = RejectionLog::default();
        refusals.note(refused);
        let kept = serde_json::to_string(&refusals.newest(None, 1)).unwrap();
        assert!(kept.len() < 30 * MAX_TEXT_BYTES, "{}", kept.len());
    }

    fn verdict(signers: String) -> PolicyExplanation {
        PolicyExplanation {
            path: "/Channel/Writers".to_owned(),
            holds: false,
            rule: String::new(),
            signers: Some(signers),
            principals: Vec::new(),
            below: Vec::new(),
        }
    }

    #[test]
    fn the_newest_are_remembered_and_all_are_counted() {
        let refusals = RejectionLog::default();
        for number in 0..1500_u64 {
            refusals.note(RejectedEnvelope {
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
