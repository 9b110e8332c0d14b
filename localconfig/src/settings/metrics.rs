//! The keys under `Metrics`.

use std::time::Duration;

use super::check::Checker;

/// Who gets the metrics.
#[derive(Clone, Debug)]
pub enum MetricsSettings {
    /// Nobody.
    Disabled,
    /// Whoever fetches `/metrics` from the operations endpoint.
    Prometheus,
    /// A StatsD server, which is sent them.
    Statsd(StatsdSettings),
}

/// How a StatsD server is reached.
#[derive(Clone, Debug)]
pub struct StatsdSettings {
    /// Over what.
    pub network: StatsdNetwork,
    /// Its host and port.
    pub address: String,
    /// How often it is sent something.
    pub interval: Duration,
    /// What every name begins with.
    pub prefix: String,
}

/// Over what a StatsD server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsdNetwork {
    /// Datagrams.
    Udp,
    /// A connection each time.
    Tcp,
}

impl Checker {
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
