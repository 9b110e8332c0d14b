//! Compiles the .proto files with protox, so that no protoc has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
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
    println!("cargo:rerun-if-changed=fabric");
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure()
        // payloads stay slices of the buffer they came in
        .bytes(".")
        // one order of map entries, so that what we encode is the same bytes every time
        .btree_map(".")
        .build_server(false)
        .compile_fds(descriptors)?;
    Ok(())
}
