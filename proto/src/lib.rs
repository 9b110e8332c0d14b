//! Messages and services of Hyperledger Fabric's wire protocol, as far as an ordering node uses them.
//!
//! One module a protobuf package. The client side of `AtomicBroadcast` is generated; the server side is not: the node
//! forwards the bytes of envelopes and blocks as they are, which a message-typed service cannot do
//! (`orderer::grpc::service`).
//!
//! Every `bytes` field is a [`bytes::Bytes`]: decoding a message does not copy its contents. Decoding drops unknown fields,
//! so a message that is signed, hashed or stored must not be decoded and encoded again.

#![allow(missing_docs, clippy::pedantic, clippy::doc_overindented_list_items)]

pub mod lenient;

/// Package `common`: envelopes, blocks, configuration, policies.
pub mod common {
    tonic::include_proto!("common");
}

/// Package `msp`: identities and the definition of a membership service provider.
pub mod msp {
    tonic::include_proto!("msp");
}

/// Package `orderer`: the `AtomicBroadcast` service and the orderer's configuration values.
pub mod orderer {
    tonic::include_proto!("orderer");
}

/// Package `etcdraft`: configuration of a channel of that consensus type, metadata of its blocks, and metadata of its
/// leader's messages.
pub mod etcdraft {
    tonic::include_proto!("etcdraft");
}

/// Package `raftpb`: messages and log entries of etcd's Raft, which consenters of etcdraft exchange and store.
///
/// Encoded, they are the bytes that Go's orderers write.
pub mod raftpb {
    tonic::include_proto!("raftpb");
}

/// Package `protos`: configuration values for peers.
pub mod protos {
    tonic::include_proto!("protos");
}

/// Descriptors of all messages: those of this crate's modules, and those that only pass through the node (transactions and
/// their contents). A serialized `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub use prost::Message;
pub use prost_types::Timestamp;
