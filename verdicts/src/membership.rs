//! Cases of organizations: whether an orderer starts with a system channel of the organization, and how it responds to
//! one of its members.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{ChannelHeader, Header, HeaderType, Payload, SignatureHeader};
use fabric_proto::msp::SerializedIdentity;
use orderer_core::block::{ChainVerifier, EncodedBlock};
use orderer_core::config::ChannelSnapshot;
use orderer_core::crypto::SigningKey;
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope};
use orderer_core::processing::{MessageOrigin, ValidationContext, validate_normal};
use orderer_core::types::UnixSeconds;

use crate::archive::Files;
use crate::judge::with_causes;

/// The time at which Fabric validated them. The certificates were issued in the days before, and one had expired.
const JUDGED_AT: UnixSeconds = UnixSeconds(1_795_824_000);
/// The MSP ID of the sending member.
const MSP_ID: &str = "VarMSP";

/// One organization's case.
#[derive(Debug)]
pub struct Organization {
    /// Name of the case.
    pub name: String,
    /// The system channel's genesis block.
    pub genesis: Bytes,
    /// The member's certificate in PEM.
    pub certificate: Bytes,
    /// The member's private key in PEM.
    pub key: Bytes,
    /// `REFUSED` if an orderer does not start, or the status of the member's envelope.
    pub verdict: String,
    /// Fabric's reason, where an orderer does not start.
    pub reason: String,
}

/// Reads the organizations of an archive, and the table of verdicts in it.
///
/// # Errors
/// A file is missing.
pub fn read(files: &Files) -> anyhow::Result<Vec<Organization>> {
    let get = |name: String| files.get(&name).cloned().with_context(|| format!("{name} is missing"));
    let table = get("verdicts.tsv".to_owned())?;
    let mut organizations = Vec::new();
    for line in String::from_utf8_lossy(&table).lines().skip(1) {
        let mut fields = line.split('\t');
        let mut next = || fields.next().unwrap_or_default().to_owned();
        let (name, verdict, reason) = (next(), next(), next());
        organizations.push(Organization {
            genesis: get(format!("{name}/sys.block"))?,
            certificate: get(format!("{name}/user/signcerts/cert.pem"))?,
            key: get(format!("{name}/user/keystore/priv_sk"))?,
            name,
            verdict,
            reason,
        });
    }
    Ok(organizations)
}

impl Organization {
    /// Returns the library's verdict, and the reason of a rejection.
    ///
    /// # Errors The case itself is broken.
    pub fn judge(&self) -> anyhow::Result<(String, String)> {
        let mut chain = ChainVerifier::new(None, Arc::default());
        let block = EncodedBlock::parse(&self.genesis).with_context(|| self.name.clone())?;
        if let Err(error) = chain.verify_next(&block) {
            return Ok(("REFUSED".to_owned(), with_causes(&error)));
        }
        let snapshot = chain.snapshot().context("there is a configuration behind block 0")?;
        if let Err(error) = snapshot.check_supported() {
            return Ok(("REFUSED".to_owned(), with_causes(&error)));
        }
        let at = ValidationContext { now: JUDGED_AT, expiration_checks: true, judging: MessageOrigin::Client };
        Ok(match validate_normal(snapshot, &self.message(snapshot)?, at) {
            Ok(_) => ("SUCCESS".to_owned(), String::new()),
            Err(refusal) => (refusal.kind().status().as_str_name().to_owned(), refusal.to_string()),
        })
    }

    /// Returns an envelope of the member for the system channel.
    fn message(&self, snapshot: &ChannelSnapshot) -> anyhow::Result<ParsedEnvelope> {
        let key = SigningKey::from_pem(&self.key).with_context(|| format!("{}: the member's key", self.name))?;
        let creator = SerializedIdentity { mspid: MSP_ID.to_owned(), id_bytes: self.certificate.clone() };
        let channel_header = ChannelHeader {
            r#type: HeaderType::Message as i32,
            channel_id: snapshot.channel().to_string(),
            ..ChannelHeader::default()
        };
        let signature_header =
            SignatureHeader { creator: creator.encode_to_vec().into(), nonce: Bytes::from_static(&[7; 24]) };
        let payload = Payload {
            header: Some(Header {
                channel_header: channel_header.encode_to_vec().into(),
                signature_header: signature_header.encode_to_vec().into(),
            }),
            data: Bytes::from_static(b"something to be ordered"),
        };
        let payload = Bytes::from(payload.encode_to_vec());
        let signature = key.sign(&payload)?;
        Ok(ParsedEnvelope::parse(SignedEnvelope::from_parts(payload, signature))?)
    }
}

/// Validates all organizations. Returns a line for each on which the library disagrees with Fabric, by name.
///
/// # Errors A case itself is broken.
pub fn disagreements(organizations: &[Organization]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut lines = BTreeMap::new();
    for organization in organizations {
        let (verdict, reason) = organization.judge()?;
        if verdict != organization.verdict {
            let fabric = format!("Fabric {} {}", organization.verdict, organization.reason);
            lines.insert(organization.name.clone(), format!("{fabric}; ours {verdict} {reason}"));
        }
    }
    Ok(lines)
}
