//! The table of all configuration keys: kind, default, and whether the key has an effect. `orderer.yaml` explains the
//! keys to operators; a test compares it with this table.

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A text that is hidden in all output.
    Secret,
    /// A boolean.
    Bool,
    /// A port, 1 to 65535.
    Port,
    /// A whole number.
    Number,
    /// A number of bytes, alone or with KB, MB or GB (powers of 1024).
    Bytes,
    /// A Go duration, such as 500ms.
    Duration,
    /// A file or directory; a relative path is relative to the configuration file.
    Path,
    /// A list of files or directories.
    Paths,
    /// PEM: inline, or the path of a file.
    Pem,
    /// A list of PEM values.
    Pems,
    /// A list of texts.
    List,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of mappings with an SKI and an ID, or of texts with both.
    KeyIds,
    /// Any value, because the key is ignored.
    Anything,
}

/// Whether a key has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadEffect {
    /// The key has the effect that `orderer.yaml` describes.
    Works,
    /// The key has no effect, for this reason.
    Ignored(&'static str),
}

/// A configuration key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Path from the root, such as `General.ListenPort`.
    pub path: &'static str,
    /// Type of the value.
    pub kind: Kind,
    /// Default value, as it is written in YAML.
    pub default: &'static str,
    /// Values that count as unset.
    pub unset: Unset,
    /// Whether the key has an effect.
    pub effect: ReloadEffect,
}

/// The values with which a key counts as unset, so that its default applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// An empty value; 0 is an ordinary value.
    Empty,
    /// An empty value or 0, as in Fabric.
    Zero,
    /// No value: an empty text disables a function.
    Never,
}

const fn works(path: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { path, kind, default, unset: Unset::Empty, effect: ReloadEffect::Works }
}

/// Creates a key for which 0 means the default, as in Fabric.
const fn nonzero(path: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { unset: Unset::Zero, ..works(path, kind, default) }
}

/// Creates a key for which an empty text is a value.
const fn may_be_empty(path: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { unset: Unset::Never, ..works(path, kind, default) }
}

const fn ignored(path: &'static str, why: &'static str) -> Key {
    Key { effect: ReloadEffect::Ignored(why), ..works(path, Kind::Anything, "") }
}

const RAFT_LOG: &str = "a channel's Raft log, snapshots among it, is a file beside its ledger";
const TIME_SHIFT: &str = "certificates are judged by the clock";
const BROKERS: &str = "brokers ask the node, not the other way";
const PAUSES: &str = "the pauses between attempts grow by themselves, up to Kafka.Retry.ShortInterval";
const SHA256: &str = "SHA-256 is the only hash, and the certificate tells the curve";
const NO_FILE: &str = "the key is in the token";
const SERVER_SENDS: &str = "a block is sent whatever its size";
const CLIENT_ROOTS: &str = "whom it trusts is in ClientRootCAs";

/// All keys, by section.
pub const KEYS: &[Key] = &[
    works("General.ListenAddress", Kind::Text, "127.0.0.1"),
    nonzero("General.ListenPort", Kind::Port, "7050"),
    works("General.LogSpec", Kind::Text, ""),
    works("General.TLS.Enabled", Kind::Bool, "false"),
    works("General.TLS.PrivateKey", Kind::Path, "tls/server.key"),
    works("General.TLS.Certificate", Kind::Path, "tls/server.crt"),
    works("General.TLS.RootCAs", Kind::Paths, "[tls/ca.crt]"),
    works("General.TLS.ClientAuthRequired", Kind::Bool, "false"),
    works("General.TLS.ClientRootCAs", Kind::Paths, "[]"),
    works("General.TLS.TLSHandshakeTimeShift", Kind::Duration, "0s"),
    ignored("General.Keepalive.ServerMinInterval", "clients may ping as often as HTTP/2 allows"),
    nonzero("General.Keepalive.ServerInterval", Kind::Duration, "7200s"),
    nonzero("General.Keepalive.ServerTimeout", Kind::Duration, "20s"),
    nonzero("General.MaxRecvMsgSize", Kind::Bytes, "104857600"),
    ignored("General.MaxSendMsgSize", SERVER_SENDS),
    nonzero("General.ConnectionTimeout", Kind::Duration, "10s"),
    ignored("General.Backoff", "it belongs to clients"),
    works("General.BootstrapMethod", Kind::Choice(&["file", "none"]), ""),
    works("General.BootstrapFile", Kind::Path, ""),
    works("General.GenesisMethod", Kind::Choice(&["file", "none", "provisional"]), ""),
    works("General.GenesisFile", Kind::Path, ""),
    works("General.GenesisProfile", Kind::Text, ""),
    ignored("General.LedgerType", "a ledger is a file"),
    works("General.LocalMSPDir", Kind::Path, "msp"),
    works("General.LocalMSPID", Kind::Text, "SampleOrg"),
    nonzero("General.Authentication.TimeWindow", Kind::Duration, "15m"),
    works("General.Authentication.NoExpirationChecks", Kind::Bool, "false"),
    works("General.Profile.Enabled", Kind::Bool, "false"),
    works("General.Profile.Address", Kind::Text, "0.0.0.0:6060"),
    works("General.BCCSP.Default", Kind::Choice(&["SW", "PKCS11"]), "SW"),
    ignored("General.BCCSP.SW.Hash", SHA256),
    ignored("General.BCCSP.SW.Security", SHA256),
    works("General.BCCSP.SW.FileKeyStore.KeyStore", Kind::Path, ""),
    works("General.BCCSP.PKCS11.Library", Kind::Text, ""),
    works("General.BCCSP.PKCS11.Label", Kind::Text, ""),
    works("General.BCCSP.PKCS11.Pin", Kind::Secret, ""),
    works("General.BCCSP.PKCS11.AltID", Kind::Text, ""),
    works("General.BCCSP.PKCS11.KeyIDs", Kind::KeyIds, "[]"),
    works("General.BCCSP.PKCS11.Immutable", Kind::Bool, "false"),
    ignored("General.BCCSP.PKCS11.Hash", SHA256),
    ignored("General.BCCSP.PKCS11.Security", SHA256),
    ignored("General.BCCSP.PKCS11.SoftwareVerify", "signatures are verified in the program"),
    ignored("General.BCCSP.PKCS11.FileKeyStore", NO_FILE),
    ignored("General.BCCSP.PKCS11.Ephemeral", NO_FILE),
    works("General.Throttling.Rate", Kind::Number, "0"),
    nonzero("General.Throttling.InactivityTimeout", Kind::Duration, "5s"),
    works("General.Throttling.ClientRate", Kind::Number, "0"),
    works("General.Throttling.OrganizationRate", Kind::Number, "0"),
    works("General.Cluster.ListenAddress", Kind::Text, ""),
    nonzero("General.Cluster.ListenPort", Kind::Port, ""),
    works("General.Cluster.ServerCertificate", Kind::Path, ""),
    works("General.Cluster.ServerPrivateKey", Kind::Path, ""),
    works("General.Cluster.ClientCertificate", Kind::Path, ""),
    works("General.Cluster.ClientPrivateKey", Kind::Path, ""),
    works("General.Cluster.RootCAs", Kind::Paths, "[]"),
    nonzero("General.Cluster.DialTimeout", Kind::Duration, "5s"),
    nonzero("General.Cluster.RPCTimeout", Kind::Duration, "7s"),
    nonzero("General.Cluster.SendBufferSize", Kind::Number, "100"),
    nonzero("General.Cluster.CertExpirationWarningThreshold", Kind::Duration, "168h"),
    works("General.Cluster.TLSHandshakeTimeShift", Kind::Duration, "0s"),
    works("General.Cluster.TolerateExpiredCertificates", Kind::Bool, "false"),
    nonzero("General.Cluster.ReplicationBufferSize", Kind::Bytes, "20971520"),
    nonzero("General.Cluster.ReplicationPullTimeout", Kind::Duration, "5s"),
    nonzero("General.Cluster.ReplicationRetryTimeout", Kind::Duration, "5s"),
    nonzero("General.Cluster.ReplicationMaxRetries", Kind::Number, "12"),
    ignored(
        "General.Cluster.ReplicationBackgroundRefreshInterval",
        "channels are joined, not looked for in a system channel",
    ),
    ignored("General.Cluster.ReplicationPolicy", "it belongs to BFT"),
    works("FileLedger.Location", Kind::Path, "/var/hyperledger/production/orderer"),
    works("FileLedger.LowDiskBytes", Kind::Bytes, "10 GB"),
    ignored("RAMLedger", "a ledger is a file"),
    ignored("FileLedger.Prefix", "it has not had an effect for years"),
    works("Solo.Durability", Kind::Choice(&["disk", "memory"]), "disk"),
    works("Raft.Acknowledge", Kind::Choice(&["durable", "committed", "sent"]), "durable"),
    works("Limits.StreamsPerConnection", Kind::Number, "2048"),
    works("Limits.MemoryBytes", Kind::Bytes, "0"),
    works("Limits.ChannelIngressBytes", Kind::Bytes, "0"),
    works("Limits.LargeMessageBytes", Kind::Bytes, "0"),
    works("Limits.BlockCacheBytes", Kind::Bytes, "0"),
    works("Kafka.Brokers", Kind::List, "[]"),
    nonzero("Kafka.Retry.ShortInterval", Kind::Duration, "2s"),
    nonzero("Kafka.Retry.ShortTotal", Kind::Duration, "10m"),
    nonzero("Kafka.Retry.LongInterval", Kind::Duration, "5m"),
    nonzero("Kafka.Retry.LongTotal", Kind::Duration, "12h"),
    nonzero("Kafka.Retry.NetworkTimeouts.DialTimeout", Kind::Duration, "10s"),
    nonzero("Kafka.Retry.NetworkTimeouts.ReadTimeout", Kind::Duration, "10s"),
    nonzero("Kafka.Retry.NetworkTimeouts.WriteTimeout", Kind::Duration, "10s"),
    ignored("Kafka.Retry.Metadata.RetryBackoff", PAUSES),
    ignored("Kafka.Retry.Metadata.RetryMax", PAUSES),
    nonzero("Kafka.Retry.Producer.RetryBackoff", Kind::Duration, "100ms"),
    nonzero("Kafka.Retry.Producer.RetryMax", Kind::Number, "3"),
    ignored("Kafka.Retry.Consumer.RetryBackoff", PAUSES),
    works("Kafka.Topic.ReplicationFactor", Kind::Number, "3"),
    works("Kafka.Verbose", Kind::Bool, "false"),
    works("Kafka.TLS.Enabled", Kind::Bool, "false"),
    works("Kafka.TLS.PrivateKey", Kind::Pem, ""),
    works("Kafka.TLS.Certificate", Kind::Pem, ""),
    works("Kafka.TLS.RootCAs", Kind::Pems, "[]"),
    ignored("Kafka.TLS.ClientAuthRequired", BROKERS),
    ignored("Kafka.TLS.ClientRootCAs", BROKERS),
    ignored("Kafka.TLS.TLSHandshakeTimeShift", TIME_SHIFT),
    works("Kafka.SASL.Enabled", Kind::Bool, "false"),
    works("Kafka.SASL.Mechanism", Kind::Choice(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]), "SCRAM-SHA-512"),
    works("Kafka.SASL.User", Kind::Text, ""),
    works("Kafka.SASL.Password", Kind::Secret, ""),
    works("Kafka.SASLPlain.Enabled", Kind::Bool, "false"),
    works("Kafka.SASLPlain.User", Kind::Text, ""),
    works("Kafka.SASLPlain.Password", Kind::Secret, ""),
    ignored("Kafka.Version", "the protocol version is negotiated"),
    works("Debug.Endpoint", Kind::Choice(&["protected", "open", "off"]), "protected"),
    works("Debug.BroadcastTraceDir", Kind::Path, ""),
    works("Debug.DeliverTraceDir", Kind::Path, ""),
    works("Tracing.Endpoint", Kind::Text, ""),
    works("Tracing.RootCAs", Kind::Paths, "[]"),
    works("Tracing.SamplePercent", Kind::Number, "100"),
    may_be_empty("Operations.ListenAddress", Kind::Text, "127.0.0.1:8443"),
    works("Operations.TLS.Enabled", Kind::Bool, "false"),
    works("Operations.TLS.Certificate", Kind::Path, ""),
    works("Operations.TLS.PrivateKey", Kind::Path, ""),
    ignored("Operations.TLS.RootCAs", CLIENT_ROOTS),
    ignored("Operations.TLS.TLSHandshakeTimeShift", TIME_SHIFT),
    works("Operations.TLS.ClientAuthRequired", Kind::Bool, "false"),
    works("Operations.TLS.ClientRootCAs", Kind::Paths, "[]"),
    works("Metrics.Provider", Kind::Choice(&["statsd", "prometheus", "disabled"]), "disabled"),
    works("Metrics.Statsd.Network", Kind::Choice(&["udp", "tcp"]), "udp"),
    works("Metrics.Statsd.Address", Kind::Text, "127.0.0.1:8125"),
    works("Metrics.Statsd.WriteInterval", Kind::Duration, "30s"),
    works("Metrics.Statsd.Prefix", Kind::Text, ""),
    may_be_empty("Admin.ListenAddress", Kind::Text, "127.0.0.1:9443"),
    works("Admin.TLS.Enabled", Kind::Bool, "false"),
    works("Admin.TLS.Certificate", Kind::Path, ""),
    works("Admin.TLS.PrivateKey", Kind::Path, ""),
    ignored("Admin.TLS.RootCAs", CLIENT_ROOTS),
    works("Admin.TLS.TLSHandshakeTimeShift", Kind::Duration, "0s"),
    works("Admin.TLS.ClientAuthRequired", Kind::Bool, "true"),
    works("Admin.TLS.ClientRootCAs", Kind::Paths, "[]"),
    works("ChannelParticipation.Enabled", Kind::Bool, "false"),
    works("ChannelParticipation.MaxRequestBodySize", Kind::Bytes, "1 MB"),
    works("Consensus.Serve.etcdraft", Kind::Choice(&["raft", "solo", "kafka", "none"]), "raft"),
    ignored("Consensus.WALDir", RAFT_LOG),
    ignored("Consensus.SnapDir", RAFT_LOG),
    works("Consensus.EvictionSuspicion", Kind::Duration, "10m"),
    nonzero("Consensus.TickIntervalOverride", Kind::Duration, ""),
];

impl Key {
    /// Returns whether the key has this path, ignoring case, or is an ignored section that contains it.
    pub(super) fn covers(&self, path: &str) -> bool {
        if self.path.eq_ignore_ascii_case(path) {
            return true;
        }
        let is_section = matches!(self.effect, ReloadEffect::Ignored(_));
        is_section
            && path.len() > self.path.len()
            && path.is_char_boundary(self.path.len())
            && path[..self.path.len()].eq_ignore_ascii_case(self.path)
            && path.as_bytes()[self.path.len()] == b'.'
    }

    /// Returns whether the value can be in a file, which the key with the suffix `.File` names.
    pub(super) fn may_be_in_a_file(&self) -> bool {
        matches!(self.kind, Kind::Text | Kind::Secret | Kind::Pem | Kind::Pems)
    }

    /// Returns the name of the environment variable that overrides the key.
    pub fn variable(&self) -> String {
        format!("ORDERER_{}", self.path.replace('.', "_").to_ascii_uppercase())
    }
}
