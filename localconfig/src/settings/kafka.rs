//! The keys under `Kafka`.

use std::io::ErrorKind;
use std::time::Duration;

use orderer_actors::kafka::RetryPolicy;
use orderer_kafka::{ClientCertificate, Credentials, Sasl, Timeouts, Tls};

use super::secrets::is_pem;
use super::validate::Validator;

/// Access to Kafka clusters, for all channels.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// TLS to the brokers.
    pub tls: Option<Tls>,
    /// Credentials for the brokers.
    pub sasl: Option<Sasl>,
    /// Time limits of requests.
    pub timeouts: Timeouts,
    /// Retries of an unavailable broker.
    pub retry: RetryPolicy,
    /// Maximum number of times that a batch is produced again before its senders are told.
    pub produce_again: u32,
    /// Pause before each of these attempts.
    pub produce_pause: Duration,
    /// Replication factor of topics that the node creates.
    pub replication_factor: i16,
    /// Whether requests to brokers are logged.
    pub verbose: bool,
}

/// Returns the settings of a Kafka client without brokers, which the channels name.
pub fn kafka_settings(settings: &KafkaSettings) -> orderer_kafka::Settings {
    let mut reach = orderer_kafka::Settings::new(Vec::new());
    reach.tls.clone_from(&settings.tls);
    reach.sasl.clone_from(&settings.sasl);
    reach.timeouts = settings.timeouts;
    reach
}

impl Validator {
    pub(super) fn kafka(&mut self) -> KafkaSettings {
        let replication_factor = self.number::<i16>("Kafka.Topic.ReplicationFactor");
        if replication_factor < 1 {
            let source = self.source("Kafka.Topic.ReplicationFactor");
            self.mistake(source, "Kafka.Topic.ReplicationFactor must be above 0");
        }
        KafkaSettings {
            tls: self.bool("Kafka.TLS.Enabled").then(|| self.kafka_tls()),
            sasl: self.kafka_sasl(),
            timeouts: Timeouts {
                dial: self.duration("Kafka.Retry.NetworkTimeouts.DialTimeout"),
                read: self.duration("Kafka.Retry.NetworkTimeouts.ReadTimeout"),
                write: self.duration("Kafka.Retry.NetworkTimeouts.WriteTimeout"),
            },
            retry: RetryPolicy {
                short_interval: self.duration("Kafka.Retry.ShortInterval"),
                short_total: self.duration("Kafka.Retry.ShortTotal"),
                long_interval: self.duration("Kafka.Retry.LongInterval"),
                long_total: self.duration("Kafka.Retry.LongTotal"),
            },
            produce_again: self.number("Kafka.Retry.Producer.RetryMax"),
            produce_pause: self.duration("Kafka.Retry.Producer.RetryBackoff"),
            replication_factor,
            verbose: self.bool("Kafka.Verbose"),
        }
    }

    fn kafka_tls(&mut self) -> Tls {
        let mut roots_pem = Vec::new();
        let roots = self.list("Kafka.TLS.RootCAs");
        if roots.is_empty() {
            let source = self.source("Kafka.TLS.RootCAs");
            self.mistake(source, "Kafka.TLS.RootCAs must list a file when Kafka.TLS.Enabled is true");
        }
        for root in roots {
            roots_pem.extend(self.pem("Kafka.TLS.RootCAs", &root));
            roots_pem.push(b'\n');
        }
        let (certificate, key) = (self.text("Kafka.TLS.Certificate"), self.text("Kafka.TLS.PrivateKey"));
        let client = (!certificate.is_empty()).then(|| ClientCertificate {
            chain_pem: self.pem("Kafka.TLS.Certificate", &certificate),
            key_pem: self.pem("Kafka.TLS.PrivateKey", &key),
        });
        Tls { roots_pem, client }
    }

    /// Returns PEM that is written inline, or reads the named file.
    fn pem(&mut self, key: &'static str, written: &str) -> Vec<u8> {
        if is_pem(written) {
            return written.as_bytes().to_vec();
        }
        let file = self.folder.join(written);
        std::fs::read(&file).unwrap_or_else(|error| {
            let what = if error.kind() == ErrorKind::NotFound { "no such file".to_owned() } else { error.to_string() };
            self.missing(key, &file, &what);
            Vec::new()
        })
    }

    fn kafka_sasl(&mut self) -> Option<Sasl> {
        let (plain, any) = (self.bool("Kafka.SASLPlain.Enabled"), self.bool("Kafka.SASL.Enabled"));
        if plain && any {
            let source = self.source("Kafka.SASL.Enabled");
            self.mistake(source, "only one of Kafka.SASL and Kafka.SASLPlain may be enabled");
        }
        let (user, password) = match (any, plain) {
            (true, _) => ("Kafka.SASL.User", "Kafka.SASL.Password"),
            (false, true) => ("Kafka.SASLPlain.User", "Kafka.SASLPlain.Password"),
            (false, false) => return None,
        };
        let credentials = Credentials { user: self.text(user), password: self.secret(password) };
        for (key, value) in [(user, &credentials.user), (password, &credentials.password)] {
            if value.is_empty() {
                let source = self.source(key);
                self.mistake(source, format!("{key} must not be empty"));
            }
        }
        let mechanism = if any { self.text("Kafka.SASL.Mechanism").to_ascii_uppercase() } else { "PLAIN".to_owned() };
        Some(match mechanism.as_str() {
            "SCRAM-SHA-256" => Sasl::ScramSha256(credentials),
            "SCRAM-SHA-512" => Sasl::ScramSha512(credentials),
            _ => Sasl::Plain(credentials),
        })
    }
}
