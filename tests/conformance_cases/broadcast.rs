//! Broadcast cases: malformed envelopes, and envelopes of all types, signers and sizes.

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{ChannelHeader, Envelope, Header, Payload, SignatureHeader};

use super::{MYCHAN, Script};
use crate::world::TestIdentity;
use crate::world::identities::{serialized, with_high_s};
use crate::world::messages::{CONFIG_UPDATE, ENDORSER_TRANSACTION, envelope, envelope_with, nonce, transaction};

/// Returns an unsigned envelope with these headers.
pub fn unsigned(header: Option<Header>, data: &'static [u8]) -> Envelope {
    Envelope { payload: Payload { header, data: data.into() }.encode_to_vec().into(), signature: Bytes::new() }
}

pub async fn malformed(script: &mut Script) {
    let user = script.cast.user.clone();
    let channel_header: Bytes =
        ChannelHeader { r#type: ENDORSER_TRANSACTION, channel_id: MYCHAN.to_owned(), ..ChannelHeader::default() }
            .encode_to_vec()
            .into();
    let signature_header: Bytes =
        SignatureHeader { creator: user.creator.clone(), nonce: nonce() }.encode_to_vec().into();
    let header = |channel_header: &Bytes, signature_header: &Bytes| {
        Some(Header { channel_header: channel_header.clone(), signature_header: signature_header.clone() })
    };
    let (none, garbage) = (Bytes::new(), Bytes::from_static(b"zz"));

    let mut send =
        async |case: &str, envelope: Envelope| script.broadcast(&format!("malformed/{case}"), [envelope]).await;
    send("empty envelope", Envelope::default()).await;
    send("garbage payload", Envelope { payload: "garbage".into(), signature: vec![1].into() }).await;
    send("no header", unsigned(None, b"x")).await;
    send("no channel header", unsigned(header(&none, &signature_header), b"")).await;
    send("garbage channel header", unsigned(header(&garbage, &signature_header), b"")).await;
    send("no signature header", unsigned(header(&channel_header, &none), b"")).await;
    send("garbage signature header", unsigned(header(&channel_header, &garbage), b"")).await;
    send("empty channel id", transaction(&user, "", "x")).await;
    send("unknown channel", transaction(&user, "nosuch", "x")).await;
    send("unknown channel, config update", envelope(&user, CONFIG_UPDATE, "nosuch", "x")).await;
}

pub async fn kinds(script: &mut Script) {
    let (user, orderer_admin) = (script.cast.user.clone(), script.cast.orderer_admin.clone());
    for kind in [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 99, -1] {
        script.broadcast(&format!("type/{kind}"), [envelope(&user, kind, MYCHAN, "x")]).await;
    }
    let mut send = async |case: &str, envelope: Envelope| script.broadcast(&format!("type/{case}"), [envelope]).await;
    let spoilt = |change: fn(&mut ChannelHeader, &mut SignatureHeader)| {
        envelope_with(&user, ENDORSER_TRANSACTION, MYCHAN, "x", change)
    };
    send("to the system channel by org1", transaction(&user, "syschan", "x")).await;
    send("to the system channel by the orderer org", transaction(&orderer_admin, "syschan", "x")).await;
    send("empty data", transaction(&user, MYCHAN, "")).await;
    send("no timestamp", spoilt(|header, _| header.timestamp = None)).await;
    send("epoch 9, version 7", spoilt(|header, _| (header.epoch, header.version) = (9, 7))).await;
    send("no nonce", spoilt(|_, header| header.nonce = Bytes::new())).await;

    let good = || transaction(&user, MYCHAN, "hello");
    script.broadcast("good/one", [good()]).await;
    script.broadcast("good/three in a stream", [good(), good(), good()]).await;
}

pub async fn signers(script: &mut Script) {
    let (user, admin) = (script.cast.user.clone(), script.cast.admin.clone());
    let mut send = async |case: &str, change: &dyn Fn(&Bytes, &Bytes) -> Bytes| {
        let good = transaction(&user, MYCHAN, "hello");
        let signature = change(&good.payload, &good.signature);
        script.broadcast(&format!("sig/{case}"), [Envelope { signature, ..good }]).await;
    };
    send("none", &|_, _| Bytes::new()).await;
    send("garbage", &|_, _| "garbage".into()).await;
    send("flipped bit", &|_, signature| with_flipped_bit(signature)).await;
    send("high s", &|_, signature| with_high_s(signature)).await;
    send("trailing byte", &|_, signature| [signature, &[0][..]].concat().into()).await;
    send("of another's key", &|payload, _| admin.sign(payload)).await;

    let cast = &script.cast;
    let by_name = [
        ("admin", cast.admin.clone()),
        ("peer", cast.peer.clone()),
        ("orderer admin", cast.orderer_admin.clone()),
        ("expired", cast.expired.clone()),
        ("not yet valid", cast.not_yet_valid.clone()),
        ("no role OU", cast.without_role.clone()),
        ("self-signed", cast.self_signed.clone()),
        ("unknown msp", cast.unknown_msp.clone()),
        ("no creator", user.under(Bytes::new())),
        ("garbage creator", user.under("garbage".into())),
        ("creator with garbage certificate", user.under(serialized("Org1MSP", "no pem"))),
    ];
    for (name, who) in by_name {
        script.broadcast(&format!("who/{name}"), [transaction(&who, MYCHAN, "x")]).await;
    }
}

pub fn with_flipped_bit(signature: &Bytes) -> Bytes {
    let mut signature = signature.to_vec();
    signature[12] ^= 1;
    signature.into()
}

pub async fn sizes_and_streams(script: &mut Script) {
    let user: TestIdentity = script.cast.user.clone();
    let good = || transaction(&user, MYCHAN, "hello");
    script.broadcast("size/5 MB", [transaction(&user, MYCHAN, vec![7; 5 << 20])]).await;
    script.broadcast("size/just over the absolute maximum", [transaction(&user, MYCHAN, vec![7; 10 << 20])]).await;
    let unsigned = Envelope { signature: Bytes::new(), ..good() };
    script.broadcast("stream/goes on after an error", [unsigned, good()]).await;
    script.broadcast("stream/good then bad then good", [good(), Envelope::default(), good()]).await;
}
