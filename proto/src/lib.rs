//! Messages and services of Hyperledger Fabric's wire protocol, as far as an ordering node speaks them.
//!
//! One module a protobuf package. The client side of `AtomicBroadcast` is generated; the server side is not: the node
//! forwards the bytes of envelopes and blocks as they are, which a message-typed service cannot do
//! (`orderer::grpc::service`).
//!
//! Every `bytes` field is a [`bytes::Bytes`]: parsing a message does not copy what is in it. Decoding drops fields that
//! are not known here, so nothing that is signed, hashed or stored may be decoded and encoded again.

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

/// Package `etcdraft`: what the configuration of a channel of that consensus type holds, and what its blocks and its leader's
/// messages say of the consenters.
pub mod etcdraft {
    tonic::include_proto!("etcdraft");
}

/// Package `raftpb`: messages and log entries of etcd's Raft, which consenters of etcdraft exchange and store.
///
/// Encoded, they are the bytes that Go's orderers write.
pub mod raftpb {
    tonic::include_proto!("raftpb");
}

/// Package `protos`: values that peers act on.
pub mod protos {
    tonic::include_proto!("protos");
}

/// All messages described: those of this crate's modules, and those that only pass through the node (transactions and
/// what is in them). A serialized `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub use prost::Message;
pub use prost_types::Timestamp;
