//! Parses `FABRIC_LOGGING_SPEC`, which sets the level of each logger.

use orderer_actors::trace::TARGET;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// A spec that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{part}' is not LEVEL or LOGGER[,LOGGER..]=LEVEL, where LEVEL is payload, debug, info, notice, warn, error, \
         critical, fatal or panic"
)]
pub struct SpecError {
    /// The invalid part of the spec.
    part: String,
}

/// Checks whether a spec is valid.
pub fn check_spec(spec: &str) -> Result<(), SpecError> {
    parse_spec(spec).map(drop)
}

/// Parses Fabric's grammar: parts separated by colons; a part is the default level, or loggers and their level.
pub fn parse_spec(spec: &str) -> Result<Targets, SpecError> {
    let mut targets = Targets::new().with_default(LevelFilter::INFO).with_target(TARGET, LevelFilter::OFF);
    for part in spec.split(':').map(str::trim).filter(|part| !part.is_empty()) {
        let wrong = || SpecError { part: part.to_owned() };
        match part.split_once('=') {
            None => targets = targets.with_default(level(part).ok_or_else(wrong)?),
            Some((loggers, text)) => {
                let level = level(text).ok_or_else(wrong)?;
                for logger in loggers.split(',').map(|logger| logger.trim().trim_end_matches('.')) {
                    if logger.is_empty() {
                        return Err(wrong());
                    }
                    targets = targets.with_target(logger, level);
                }
            }
        }
    }
    Ok(targets)
}

fn level(text: &str) -> Option<LevelFilter> {
    match text.trim().to_ascii_lowercase().as_str() {
        // nothing is logged below DEBUG
        "payload" | "debug" => Some(LevelFilter::DEBUG),
        "info" | "notice" => Some(LevelFilter::INFO),
        "warn" | "warning" => Some(LevelFilter::WARN),
        // nothing is logged above ERROR
        "error" | "critical" | "dpanic" | "panic" | "fatal" => Some(LevelFilter::ERROR),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn fabrics_grammar_is_read() {
        let targets = parse_spec("orderer.chain,orderer.ledger=debug:warn").expect("parses");
        assert!(targets.would_enable("orderer.chain", &Level::DEBUG));
        assert!(!targets.would_enable("orderer.grpc", &Level::INFO));
        assert!(targets.would_enable("orderer.grpc", &Level::WARN));
        assert!(parse_spec("").expect("parses").would_enable("x", &Level::INFO));
        let fabrics = parse_spec("PAYLOAD:orderer.a=CRITICAL:orderer.b=NOTICE").expect("parses");
        assert!(fabrics.would_enable("x", &Level::DEBUG) && !fabrics.would_enable("orderer.a", &Level::WARN));
        assert!(fabrics.would_enable("orderer.b", &Level::INFO) && !fabrics.would_enable("orderer.b", &Level::DEBUG));
        for bad in ["loud", "orderer=", "=info", "a=b=c"] {
            assert!(parse_spec(bad).is_err(), "{bad}");
        }
    }
}
