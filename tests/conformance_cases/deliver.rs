//! Deliver cases.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{ChannelHeader, Envelope, Header, SignatureHeader};
use fabric_proto::orderer::SeekInfo;
use fabric_proto::orderer::seek_info::{SeekContentType, SeekErrorResponse};

use super::broadcast::{unsigned, with_flipped_bit};
use super::{MYCHAN, Script};
use crate::world::messages::{
    DELIVER_SEEK_INFO, block, envelope, envelope_with, newest, next_commit, nonce, oldest, seek, seek_info,
    seek_info_at_once, transaction,
};

pub async fn malformed(script: &mut Script) {
    const HOUR: Duration = Duration::from_secs(3600);
    let user = script.cast.user.clone();
    let first = seek_info(oldest(), oldest());
    let signature_header: Bytes =
        SignatureHeader { creator: user.creator.clone(), nonce: nonce() }.encode_to_vec().into();
    let garbage_header = Header { channel_header: "zz".into(), signature_header };
    let spoilt = |change: fn(&mut ChannelHeader)| {
        let data = first.encode_to_vec();
        envelope_with(&user, DELIVER_SEEK_INFO, MYCHAN, data, |header, _| change(header))
    };

    let mut ask = async |case: &str, request: Envelope| script.deliver(case, [request]).await;
    ask("malformed/empty envelope", Envelope::default()).await;
    ask("malformed/garbage payload", Envelope { payload: "garbage".into(), signature: Bytes::new() }).await;
    ask("malformed/no header", unsigned(None, b"x")).await;
    ask("malformed/garbage channel header", unsigned(Some(garbage_header), b"")).await;
    ask("malformed/no timestamp", spoilt(|header| header.timestamp = None)).await;
    ask("time/an hour ago", spoilt(|header| header.timestamp = Some((SystemTime::now() - HOUR).into()))).await;
    ask("time/in an hour", spoilt(|header| header.timestamp = Some((SystemTime::now() + HOUR).into()))).await;
    ask("tls hash without tls", spoilt(|header| header.tls_cert_hash = "x".into())).await;
    ask("unknown channel", seek(&user, "nosuch", &first)).await;
    ask("empty channel", seek(&user, "", &first)).await;
    ask("wrong type in header", transaction(&user, MYCHAN, first.encode_to_vec())).await;
    ask("garbage seek", envelope(&user, DELIVER_SEEK_INFO, MYCHAN, "garbage")).await;
}

pub async fn positions(script: &mut Script) {
    let user = script.cast.user.clone();
    let seek = |info: SeekInfo| seek(&user, MYCHAN, &info);
    let one = || seek(seek_info(block(1), block(1)));
    let end_of_time = block(u64::MAX);
    let backwards = || seek(seek_info(block(2), block(1)));

    script.deliver("no start", [seek(seek_info(None, oldest()))]).await;
    script.deliver("no stop", [seek(seek_info(oldest(), None))]).await;
    script.deliver("start after stop", [backwards()]).await;
    script.deliver("oldest to oldest", [seek(seek_info(oldest(), oldest()))]).await;
    script.deliver("newest to newest", [seek(seek_info(newest(), newest()))]).await;
    script.deliver("oldest to 2", [seek(seek_info(oldest(), block(2)))]).await;
    script.deliver("newest to oldest", [seek(seek_info(newest(), oldest()))]).await;
    let all = seek(seek_info(oldest(), newest()));
    script.deliver("oldest to newest, then one more seek", [all, one()]).await;
    script.deliver("error, then one more seek", [backwards(), one()]).await;
    script.deliver("beyond, fail", [seek(seek_info_at_once(block(5000), block(5000)))]).await;
    script.deliver("beyond, block", [seek(seek_info(block(5000), block(5000)))]).await;
    let request = seek(seek_info_at_once(newest(), end_of_time));
    script.deliver("to the end of time, fail", [request]).await;
    script.deliver("to the end of time, block", [seek(seek_info(newest(), end_of_time))]).await;
    script.deliver("next commit", [seek(seek_info(next_commit(), next_commit()))]).await;
    script.deliver("next commit, fail", [seek(seek_info_at_once(next_commit(), next_commit()))]).await;
    let headers = SeekContentType::HeaderWithSig.into();
    let request = SeekInfo { content_type: headers, ..seek_info(oldest(), block(2)) };
    script.deliver("headers only", [seek(request)]).await;
    let first = || seek_info(oldest(), oldest());
    script.deliver("content type 7", [seek(SeekInfo { content_type: 7, ..first() })]).await;
    script.deliver("behavior 7", [seek(SeekInfo { behavior: 7, ..first() })]).await;
    let best_effort = SeekErrorResponse::BestEffort.into();
    script.deliver("best effort", [seek(SeekInfo { error_response: best_effort, ..first() })]).await;
}

pub async fn readers(script: &mut Script) {
    let cast = &script.cast;
    let first = seek_info(oldest(), oldest());
    let by_name = [
        ("peer", cast.peer.clone()),
        ("orderer admin", cast.orderer_admin.clone()),
        ("expired", cast.expired.clone()),
        ("not yet valid", cast.not_yet_valid.clone()),
        ("no role OU", cast.without_role.clone()),
        ("self-signed", cast.self_signed.clone()),
        ("unknown msp", cast.unknown_msp.clone()),
    ];
    let (user, orderer_admin) = (cast.user.clone(), cast.orderer_admin.clone());
    let good = seek(&user, MYCHAN, &first);
    let bad = Envelope { signature: with_flipped_bit(&good.signature), ..good };
    script.deliver("sig/flipped bit", [bad]).await;
    for (name, who) in by_name {
        script.deliver(&format!("who/{name}"), [seek(&who, MYCHAN, &first)]).await;
    }
    script.deliver("system channel by org1", [seek(&user, "syschan", &first)]).await;
    let all = seek(&orderer_admin, "syschan", &seek_info(oldest(), newest()));
    script.deliver("system channel by the orderer org", [all]).await;
}
