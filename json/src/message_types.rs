//! The known message types: those that the protocol's crate describes.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MessageDescriptor};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    // this build compiled the descriptors itself, so they are complete; a test decodes them
    DescriptorPool::decode(fabric_proto::DESCRIPTORS).unwrap_or_default()
});

/// Returns the description of the message with this full name, such as `common.Block`.
pub(crate) fn message(name: &str) -> Option<MessageDescriptor> {
    POOL.get_message_by_name(name).filter(|kind| !kind.is_map_entry())
}

/// Whether a message with this full name can be converted.
pub fn is_known(kind: &str) -> bool {
    message(kind).is_some()
}

/// Returns the full names of all messages, in alphabetical order.
pub fn message_types() -> Vec<String> {
    let kinds = POOL.all_messages().filter(|kind| !kind.is_map_entry());
    let mut names: Vec<String> = kinds.map(|kind| kind.full_name().to_owned()).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use prost_reflect::Kind;

    use super::*;

    #[test]
    fn the_messages_of_the_protocol_are_known_and_made_of_what_can_be_shown() {
        for name in ["common.Block", "orderer.ConsensusType", "protos.Transaction", "kvrwset.KVRWSet"] {
            assert!(is_known(name), "{name}");
        }
        assert!(!is_known("common.Blck"));
        for kind in message_types().iter().filter_map(|name| message(name)) {
            for field in kind.fields() {
                let shown = matches!(
                    field.kind(),
                    Kind::Int32
                        | Kind::Int64
                        | Kind::Uint32
                        | Kind::Uint64
                        | Kind::Bool
                        | Kind::String
                        | Kind::Bytes
                        | Kind::Enum(_)
                        | Kind::Message(_)
                );
                assert!(shown, "{}", field.full_name());
            }
        }
    }
}
