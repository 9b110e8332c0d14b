//! The parts of manual pages that the definition of the commands does not contain: examples, variables and exit codes.

/// Examples of commands whose help has none, by the name of the page.
pub(super) const EXAMPLES: &[(&str, &str)] = &[
    ("orderer-version", "  orderer version"),
    ("orderer-channel-list", "  orderer channel list -o localhost:9443 -c mychannel"),
    ("orderer-channel-join", "  orderer channel join -o localhost:9443 -c mychannel -b mychannel.block"),
    ("orderer-channel-remove", "  orderer channel remove -o localhost:9443 -c mychannel"),
    ("orderer-channel-update", "  orderer channel update -o localhost:9443 -c mychannel -e update.tx"),
    (
        "orderer-channel-fetch",
        "  orderer channel fetch -o localhost:9443 -c mychannel \\\n      -b config -f config.block",
    ),
    ("orderer-channel-restart", "  orderer channel restart -o localhost:8443 -c mychannel"),
    ("orderer-client", "  orderer client deliver --from oldest --to 1"),
    ("orderer-client-deliver", "  orderer client deliver --from oldest --to 1"),
    ("orderer-client-fetch", "  orderer client fetch config config.block -c mychannel"),
    ("orderer-config", "  orderer config check --config orderer.yaml"),
    ("orderer-config-check", "  orderer config check --config orderer.yaml --print"),
    ("orderer-health", "  orderer health --config orderer.yaml\n  orderer health --address localhost:8443"),
    ("orderer-ledger", "  orderer ledger verify --config orderer.yaml"),
    (
        "orderer-ledger-verify",
        "  orderer ledger verify --config orderer.yaml\n  orderer ledger verify --from-node localhost:9443",
    ),
    ("orderer-ledger-stats", "  orderer ledger stats --config orderer.yaml --json"),
    (
        "orderer-ledger-export",
        "  orderer ledger export --config orderer.yaml --channel mychannel \\\n      --to mychannel.blocks",
    ),
    ("orderer-ledger-backup", "  orderer ledger backup --from-node localhost:9443 --to backup"),
    ("orderer-ledger-import", "  orderer ledger import --config orderer.yaml --from backup"),
    ("orderer-ledger-prune", "  orderer ledger prune --config orderer.yaml --channel mychannel --keep 10000"),
    ("orderer-ledger-compact", "  orderer ledger compact --config orderer.yaml"),
    ("orderer-kafka", "  orderer kafka check --config orderer.yaml"),
    ("orderer-kafka-check", "  orderer kafka check --config orderer.yaml"),
    ("orderer-raft", "  orderer raft check --config orderer.yaml -c mychannel"),
    ("orderer-raft-check", "  orderer raft check --config orderer.yaml -c mychannel"),
    ("orderer-configtxlator-start", "  configtxlator start --port 7059"),
    ("orderer-configtxlator-proto_encode", "  configtxlator proto_encode --type common.Config --input config.json"),
    ("orderer-configtxlator-proto_decode", "  configtxlator proto_decode --type common.Config --input config.pb"),
    (
        "orderer-configtxlator-compute_update",
        "  configtxlator compute_update --channel_id mychannel \\\n      --original before.pb --updated after.pb \
         --output update.pb",
    ),
    ("orderer-configtxlator-version", "  configtxlator version"),
    ("orderer-cryptogen-generate", "  cryptogen generate --config crypto-config.yaml"),
    ("orderer-cryptogen-extend", "  cryptogen extend --config crypto-config.yaml"),
    ("orderer-cryptogen-showtemplate", "  cryptogen showtemplate > crypto-config.yaml"),
    ("orderer-cryptogen-version", "  cryptogen version"),
    ("orderer-osnadmin-channel", "  osnadmin channel list -o localhost:9443"),
    ("orderer-osnadmin-channel-list", "  osnadmin channel list -o localhost:9443 -c mychannel"),
    ("orderer-osnadmin-channel-join", "  osnadmin channel join -o localhost:9443 -c mychannel -b mychannel.block"),
    ("orderer-osnadmin-channel-remove", "  osnadmin channel remove -o localhost:9443 -c mychannel"),
    ("orderer-osnadmin-channel-update", "  osnadmin channel update -o localhost:9443 -c mychannel -e update.tx"),
    (
        "orderer-osnadmin-channel-fetch",
        "  osnadmin channel fetch -o localhost:9443 -c mychannel \\\n      -b config -f config.block",
    ),
    ("orderer-completions", "  orderer completions bash > /usr/share/bash-completion/completions/orderer"),
    ("orderer-man", "  orderer man --dir man\n  man -l man/orderer-start.1"),
];

const SETTINGS: &str = "\
FABRIC_CFG_PATH      folder of orderer.yaml, if --config names no file
ORDERER_SECTION_KEY  overrides a key of orderer.yaml, see orderer.yaml(5)";

const IDENTITY: &str = "\
CORE_PEER_LOCALMSPID     MSP ID of the signer, if --msp-id is not given
CORE_PEER_MSPCONFIGPATH  MSP folder of the signer, if --msp-dir is not given";

const CONFIGTX: &str = "\
FABRIC_CFG_PATH       folder of configtx.yaml, if no flag names it
CONFIGTX_SECTION_KEY  overrides a key of configtx.yaml";

/// Returns the variables that a command reads.
pub(super) fn variables(page: &str) -> &'static str {
    let reads = |names: &[&str]| names.iter().any(|name| page.starts_with(name));
    if reads(&["orderer-client", "orderer-sign"]) {
        IDENTITY
    } else if reads(&["orderer-genesis", "orderer-configtxgen"]) {
        CONFIGTX
    } else if page == "orderer-ledger-backup" {
        NONE
    } else if reads(&["orderer-config-check", "orderer-health", "orderer-ledger", "orderer-kafka", "orderer-raft"]) {
        SETTINGS
    } else {
        NONE
    }
}

const NONE: &str = "The command reads no variable of its own.";

const EXIT: &str = "\
0  success
1  the command failed; each reason is a line on standard error
2  the arguments are invalid; nothing was done";

const KINGPIN: &str = "\
0  success
1  the command failed, or the arguments are invalid";

const OSNADMIN: &str = "\
0  the node responded, also if it rejected the request
1  the node cannot be reached, or the arguments are invalid";

/// Returns the exit codes of a command whose help does not list them.
pub(super) fn exit_codes(page: &str) -> &'static str {
    if page.starts_with("orderer-osnadmin") {
        OSNADMIN
    } else if ["orderer-configtxlator", "orderer-cryptogen"].iter().any(|tool| page.starts_with(tool)) {
        KINGPIN
    } else {
        EXIT
    }
}
