//! Compiles the .proto files with protox, so that no protoc has to be installed.

use std::path::PathBuf;

/// What the node reads and writes.
const SPOKEN: [&str; 12] = [
    "fabric/common/common.proto",
    "fabric/common/configtx.proto",
    "fabric/common/configuration.proto",
    "fabric/common/policies.proto",
    "fabric/msp/identities.proto",
    "fabric/msp/msp_config.proto",
    "fabric/msp/msp_principal.proto",
    "fabric/orderer/ab.proto",
    "fabric/orderer/configuration.proto",
    "fabric/orderer/kafka.proto",
    "fabric/orderer/etcdraft/configuration.proto",
    "fabric/peer/configuration.proto",
];

/// What passes through it unread, but is shown to people: described, without any Rust.
const SHOWN: [&str; 8] = [
    "google/protobuf/empty.proto",
    "fabric/ledger/kv_rwset.proto",
    "fabric/ledger/rwset.proto",
    "fabric/orderer/etcdraft/metadata.proto",
    "fabric/orderer/smartbft/configuration.proto",
    "fabric/peer/chaincode.proto",
    "fabric/peer/proposal.proto",
    "fabric/peer/transaction.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=fabric");
    let descriptors = protox::compile(SPOKEN, ["."])?;
    tonic_prost_build::configure()
        // payloads stay slices of the buffer they came in
        .bytes(".")
        // one order of map entries, so that what we encode is the same bytes every time
        .btree_map(".")
        .build_server(false)
        .compile_fds(descriptors)?;
    let mut described = protox::Compiler::new(["."])?;
    described.include_imports(true).open_files(SPOKEN.iter().chain(&SHOWN))?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("descriptors.bin"), described.encode_file_descriptor_set())?;
    Ok(())
}
