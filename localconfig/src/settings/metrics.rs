//! The keys under `Metrics`.

use std::time::Duration;

use super::validate::Validator;

/// The metrics provider.
#[derive(Clone, Debug)]
pub enum MetricsSettings {
    /// No metrics.
    Disabled,
    /// Prometheus fetches `/metrics` from the operations endpoint.
    Prometheus,
    /// The node sends them to a StatsD server.
    Statsd(StatsdSettings),
}

/// Access to a StatsD server.
#[derive(Clone, Debug)]
pub struct StatsdSettings {
    /// The transport.
    pub network: StatsdNetwork,
    /// The server's host and port.
    pub address: String,
    /// Interval between transmissions.
    pub interval: Duration,
    /// Prefix of every name.
    pub prefix: String,
}

/// Transport to a StatsD server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsdNetwork {
    /// Datagrams.
    Udp,
    /// A new connection each time.
    Tcp,
}

impl Validator {
    pub(super) fn metrics(&mut self) -> MetricsSettings {
        match self.text("Metrics.Provider").to_ascii_lowercase().as_str() {
            "prometheus" => MetricsSettings::Prometheus,
            "statsd" => MetricsSettings::Statsd(self.statsd()),
            _ => MetricsSettings::Disabled,
        }
    }

    fn statsd(&mut self) -> StatsdSettings {
        let (address, interval) = (self.text("Metrics.Statsd.Address"), self.duration("Metrics.Statsd.WriteInterval"));
        if address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            let source = self.source("Metrics.Statsd.Address");
            self.mistake(source, format!("Metrics.Statsd.Address: '{address}' is not host:port"));
        }
        if interval.is_zero() {
            let source = self.source("Metrics.Statsd.WriteInterval");
            self.mistake(source, "Metrics.Statsd.WriteInterval must be above 0");
        }
        let is_tcp = self.text("Metrics.Statsd.Network").eq_ignore_ascii_case("tcp");
        let network = if is_tcp { StatsdNetwork::Tcp } else { StatsdNetwork::Udp };
        StatsdSettings { network, address, interval, prefix: self.text("Metrics.Statsd.Prefix") }
    }
}
