//! Compiles the .proto files with protox, so that no protoc has to be installed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Files with messages that the node decodes or encodes.
const SPOKEN: [&str; 15] = [
    "fabric/common/common.proto",
    "fabric/common/configtx.proto",
    "fabric/common/configuration.proto",
    "fabric/common/policies.proto",
    "fabric/msp/identities.proto",
    "fabric/msp/msp_config.proto",
    "fabric/msp/msp_principal.proto",
    "fabric/orderer/ab.proto",
    "fabric/orderer/cluster.proto",
    "fabric/orderer/configuration.proto",
    "fabric/orderer/kafka.proto",
    "fabric/orderer/etcdraft/configuration.proto",
    "fabric/orderer/etcdraft/metadata.proto",
    "fabric/peer/configuration.proto",
    "fabric/raftpb/raft.proto",
];

/// Files with messages that pass through the node unread but can be displayed: only descriptors, no Rust
/// code.
const SHOWN: [&str; 7] = [
    "google/protobuf/empty.proto",
    "fabric/ledger/kv_rwset.proto",
    "fabric/ledger/rwset.proto",
    "fabric/orderer/smartbft/configuration.proto",
    "fabric/peer/chaincode.proto",
    "fabric/peer/proposal.proto",
    "fabric/peer/transaction.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=fabric");
    let descriptors = protox::compile(SPOKEN, ["."])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("schema.rs"), schema(&descriptors.file)?)?;
    let mut config = tonic_prost_build::Config::new();
    // a message provides its name, by which its schema is found
    config.enable_type_names();
    tonic_prost_build::configure()
        // payloads stay slices of the buffer they came in
        .bytes(".")
        // a defined order of map entries, so that encoding a message always gives the same bytes
        .btree_map(".")
        .build_server(false)
        .compile_fds_with_config(descriptors, config)?;
    let mut described = protox::Compiler::new(["."])?;
    described.include_imports(true).open_files(SPOKEN.iter().chain(&SHOWN))?;
    std::fs::write(out.join("descriptors.bin"), described.encode_file_descriptor_set())?;
    Ok(())
}

type File = protox::prost_reflect::prost_types::FileDescriptorProto;
type Message = protox::prost_reflect::prost_types::DescriptorProto;

/// Generates the wire form of every field of every message as a static table of Rust, sorted by the
/// messages' names.
fn schema(files: &[File]) -> Result<String, std::fmt::Error> {
    let mut messages = BTreeMap::new();
    for file in files {
        collect(file.package(), &file.message_type, &mut messages);
    }
    let index = |name: &str| messages.keys().position(|known| known == name.trim_start_matches('.'));
    let mut text = format!("pub(super) static MESSAGES: [Schema; {}] = [\n", messages.len());
    for (name, message) in &messages {
        write!(text, "    Schema {{ name: {name:?}, fields: &[")?;
        for field in &message.field {
            // numbers of google.protobuf.FieldDescriptorProto.Type
            let form = match field.r#type.unwrap_or_default() {
                1 | 6 | 16 => "Form::Fixed64".to_owned(),
                2 | 7 | 15 => "Form::Fixed32".to_owned(),
                9 | 12 => "Form::Bytes".to_owned(),
                11 => match index(field.type_name()) {
                    Some(index) => format!("Form::Message({index})"),
                    None => "Form::Bytes".to_owned(),
                },
                _ => "Form::Varint".to_owned(),
            };
            // number 3 of FieldDescriptorProto.Label
            let repeated = field.label == Some(3);
            write!(text, "FieldSchema {{ number: {}, form: {form}, repeated: {repeated} }}, ", field.number())?;
        }
        writeln!(text, "] }},")?;
    }
    text.push_str("];\n");
    Ok(text)
}

fn collect<'a>(outer: &str, messages: &'a [Message], all: &mut BTreeMap<String, &'a Message>) {
    for message in messages {
        let name = format!("{outer}.{}", message.name());
        collect(&name, &message.nested_type, all);
        all.insert(name, message);
    }
}
