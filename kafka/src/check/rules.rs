//! Facts against what a channel needs.

use std::collections::BTreeMap;

use super::cluster_facts::{BrokerFacts, ClusterFacts, TopicFacts};
use super::{Finding, Requirements};

/// Checks the facts that [`examine`](super::examine) returned.
pub fn evaluate(facts: &ClusterFacts, need: &Requirements) -> Vec<Finding> {
    match &facts.topic {
        None => check_absence(facts, need),
        Some(topic) => check_topic(topic, need),
    }
}

fn check_absence(facts: &ClusterFacts, need: &Requirements) -> Vec<Finding> {
    let channel = &need.channel;
    if let Some(next) = need.next_offset {
        return vec![Finding::error(
            format!("topic {channel} does not exist, but the chain has processed records up to offset {}", next - 1),
            "find out who deleted it; this node's chain cannot continue without it",
        )];
    }
    let (copies, brokers) = (need.replication_factor, facts.brokers.len());
    let mut findings = vec![if usize::try_from(copies).is_ok_and(|copies| copies <= brokers) {
        Finding::fine(format!(
            "topic {channel} does not exist yet; the node creates it when it starts, with {copies} copies"
        ))
    } else {
        Finding::error(
            format!("topic {channel} does not exist; it needs {copies} copies, and there are {brokers} brokers"),
            format!("start more brokers, or set Kafka.Topic.ReplicationFactor to {brokers}"),
        )
    }];
    for broker in &facts.brokers {
        findings.extend(check_broker(broker, need));
    }
    findings
}

/// Returns the findings about settings that a topic which the node creates would inherit.
fn check_broker(broker: &BrokerFacts, need: &Requirements) -> Vec<Finding> {
    let Some(settings) = &broker.settings else { return Vec::new() };
    let mut findings = Vec::new();
    let alter = |change: &str| {
        let BrokerFacts { id, address, .. } = broker;
        format!(
            "kafka-configs.sh --bootstrap-server {address} --alter --entity-type brokers --entity-name {id} --add-config {change}"
        )
    };
    let subject = format!("broker {}", broker.id);
    findings.extend(check_elections(&subject, settings, &alter));
    // inherited by topics under another name
    let retention = ["log.retention.ms", "log.retention.hours", "log.retention.minutes"];
    let kept_for_ever = settings.get("log.retention.ms").is_some_and(|value| value == "-1");
    if !kept_for_ever && retention.iter().any(|name| settings.contains_key(*name)) {
        findings.push(Finding::warning(
            format!("{subject} deletes records by age, and a new topic would, too"),
            alter("log.retention.ms=-1"),
        ));
    }
    findings.extend(check_copies(&subject, settings, need.replication_factor.into(), &alter));
    findings
}

fn check_topic(topic: &TopicFacts, need: &Requirements) -> Vec<Finding> {
    let described = &topic.description;
    let subject = format!("topic {}", need.channel);
    let mut findings = Vec::new();
    if described.partitions != 1 {
        findings.push(Finding::error(
            format!("{subject} has {} partitions, a channel needs exactly one", described.partitions),
            format!("if no channel was ever ordered by it: kafka-topics.sh --bootstrap-server BROKER --delete --topic {}, and let the node create it", need.channel),
        ));
    }
    let (copies, in_sync) = (described.replicas.len(), described.in_sync.len());
    match described.leader {
        None => findings.push(Finding::error(
            format!("{subject} has no leader: none of its brokers {:?} that is in sync is alive", described.replicas),
            "start those brokers",
        )),
        Some(leader) if in_sync < copies => findings.push(Finding::warning(
            format!("{subject} is led by broker {leader}; {in_sync} of its {copies} copies are in sync"),
            format!("check the brokers that are behind: {:?}", behind(&described.replicas, &described.in_sync)),
        )),
        Some(leader) => {
            findings
                .push(Finding::fine(format!("{subject} is led by broker {leader}, all {copies} copies are in sync")));
        }
    }
    if copies == 1 {
        findings.push(Finding::warning(
            format!("{subject} is on one broker: if its disk fails, the channel's newest records are lost"),
            "start more brokers and move it with kafka-reassign-partitions.sh",
        ));
    }
    if let Some(settings) = &topic.settings {
        findings.extend(check_topic_settings(&subject, settings, copies, in_sync, need));
    }
    findings.extend(check_offsets(topic, need));
    findings
}

fn check_topic_settings(
    subject: &str,
    settings: &BTreeMap<String, String>,
    copies: usize,
    in_sync: usize,
    need: &Requirements,
) -> Vec<Finding> {
    let alter = |change: &str| {
        let topic = &need.channel;
        format!(
            "kafka-configs.sh --bootstrap-server BROKER --alter --entity-type topics --entity-name {topic} --add-config {change}"
        )
    };
    let mut findings = check_elections(subject, settings, &alter);
    let is_kept = ["retention.ms", "retention.bytes"].map(|name| settings.get(name).is_none_or(|value| value == "-1"));
    for (name, kept) in ["retention.ms", "retention.bytes"].into_iter().zip(is_kept) {
        if !kept {
            let value = &settings[name];
            findings.push(Finding::warning(
                format!(
                    "{subject} deletes records ({name}={value}): an orderer that is away for longer fails its channel"
                ),
                alter(&format!("{name}=-1")),
            ));
        }
    }
    if is_kept == [true, true] {
        findings.push(Finding::fine(format!("{subject} keeps its records")));
    }
    if settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        findings.push(Finding::error(
            format!("{subject} is compacted: records with equal keys are deleted, and all of a channel's have one key"),
            alter("cleanup.policy=delete"),
        ));
    }
    let largest = settings.get("max.message.bytes").and_then(|bytes| bytes.parse::<u64>().ok());
    if let (Some(largest), Some(wanted)) = (largest, need.largest_record) {
        findings.push(if largest < u64::from(wanted) {
            Finding::error(
                format!("{subject} accepts records up to {largest} bytes, the channel's may have {wanted}"),
                alter(&format!("max.message.bytes={wanted}")),
            )
        } else {
            Finding::fine(format!(
                "{subject} accepts records up to {largest} bytes, the channel's have {wanted} at most"
            ))
        });
    }
    findings.extend(check_copies(subject, settings, copies.try_into().unwrap_or(i64::MAX), &alter));
    let least = settings.get("min.insync.replicas").and_then(|least| least.parse::<usize>().ok());
    if let Some(least) = least.filter(|least| *least > in_sync && *least <= copies) {
        findings.push(Finding::error(
            format!("{subject} needs {least} copies in sync to accept a record, and has {in_sync}"),
            "check the brokers that are behind",
        ));
    }
    findings
}

fn check_elections(subject: &str, settings: &BTreeMap<String, String>, alter: &dyn Fn(&str) -> String) -> Vec<Finding> {
    let is_unclean = settings.get("unclean.leader.election.enable").is_some_and(|value| value == "true");
    if !is_unclean {
        return Vec::new();
    }
    vec![Finding::error(
        format!("{subject} lets a broker become the leader that lacks records: acknowledged records would be lost"),
        alter("unclean.leader.election.enable=false"),
    )]
}

/// Returns the findings about the number of replicas that an acknowledgement waits for.
fn check_copies(
    subject: &str,
    settings: &BTreeMap<String, String>,
    copies: i64,
    alter: &dyn Fn(&str) -> String,
) -> Vec<Finding> {
    let Some(least) = settings.get("min.insync.replicas").and_then(|least| least.parse::<i64>().ok()) else {
        return Vec::new();
    };
    if least > copies {
        let found = format!(
            "{subject} requires {least} copies in sync of {copies}: old versions of Kafka then append no record, newer ones (3.9) require all existing copies"
        );
        return vec![Finding::warning(found, alter(&format!("min.insync.replicas={}", copies.max(1))))];
    }
    if copies > 1 && least == copies {
        let found =
            format!("{subject} requires all {copies} copies in sync: while one broker is down, nothing is ordered");
        return vec![Finding::warning(found, alter(&format!("min.insync.replicas={}", copies - 1)))];
    }
    if copies > 2 && least < 2 {
        let found = format!("{subject} acknowledges with one copy in sync: if its broker fails, the record is lost");
        return vec![Finding::warning(found, alter("min.insync.replicas=2"))];
    }
    vec![Finding::fine(format!("{subject} acknowledges with {least} of {copies} copies in sync"))]
}

fn check_offsets(topic: &TopicFacts, need: &Requirements) -> Vec<Finding> {
    let (Some(held), Some(next)) = (topic.offsets, need.next_offset) else { return Vec::new() };
    let channel = &need.channel;
    vec![if held.earliest > next {
        Finding::error(
            format!("topic {channel} begins at offset {}, this node's chain needs {next}", held.earliest),
            "start with the ledger of another orderer that has more blocks of the channel",
        )
    } else if held.next < next {
        Finding::error(
            format!(
                "topic {channel} ends before offset {}, this node's chain has processed records up to {}",
                held.next,
                next - 1
            ),
            "it is another topic than the chain was cut from: find out who replaced it",
        )
    } else {
        Finding::fine(format!("topic {channel} has the {} records that this node's chain needs next", held.next - next))
    }]
}

fn behind(replicas: &[i32], in_sync: &[i32]) -> Vec<i32> {
    replicas.iter().filter(|id| !in_sync.contains(id)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Offsets, TopicDescription};
    use crate::check::Severity;

    fn need() -> Requirements {
        Requirements {
            channel: "app".to_owned(),
            largest_record: Some(1_065_536),
            replication_factor: 3,
            next_offset: Some(100),
        }
    }

    fn settings(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
        let good = [
            ("unclean.leader.election.enable", "false"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
            ("cleanup.policy", "delete"),
            ("max.message.bytes", "1065536"),
            ("min.insync.replicas", "2"),
        ];
        good.iter().chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn topic(change: impl FnOnce(&mut TopicFacts)) -> ClusterFacts {
        let description = TopicDescription {
            name: "app".to_owned(),
            partitions: 1,
            leader: Some(2),
            replicas: vec![1, 2, 3],
            in_sync: vec![1, 2, 3],
        };
        let offsets = Some(Offsets { earliest: 0, next: 140 });
        let mut topic = TopicFacts { description, settings: Some(settings(&[])), offsets };
        change(&mut topic);
        let broker = |id| BrokerFacts { id, address: format!("b{id}:9092"), settings: None };
        ClusterFacts { brokers: (1..4).map(broker).collect(), topic: Some(topic) }
    }

    /// Returns the findings that are not fine.
    fn wrong(facts: &ClusterFacts, need: &Requirements) -> Vec<(Severity, String)> {
        let findings = evaluate(facts, need).into_iter().filter(|finding| finding.level > Severity::Fine);
        findings.map(|finding| (finding.level, finding.found + " | " + &finding.fix.unwrap_or_default())).collect()
    }

    #[test]
    fn a_good_topic_is_fine_in_every_respect() {
        let findings = evaluate(&topic(|_| ()), &need());
        assert!(findings.iter().all(|finding| finding.level == Severity::Fine), "{findings:?}");
        assert_eq!(findings.len(), 5);
    }

    #[test]
    fn each_setting_that_is_wrong_is_named_with_what_mends_it() {
        for (name, value, level, mended) in [
            ("unclean.leader.election.enable", "true", Severity::Error, "unclean.leader.election.enable=false"),
            ("retention.ms", "604800000", Severity::Warning, "retention.ms=-1"),
            ("retention.bytes", "1073741824", Severity::Warning, "retention.bytes=-1"),
            ("cleanup.policy", "compact,delete", Severity::Error, "cleanup.policy=delete"),
            ("max.message.bytes", "1000000", Severity::Error, "max.message.bytes=1065536"),
            ("min.insync.replicas", "1", Severity::Warning, "min.insync.replicas=2"),
            ("min.insync.replicas", "3", Severity::Warning, "min.insync.replicas=2"),
            ("min.insync.replicas", "4", Severity::Warning, "min.insync.replicas=3"),
        ] {
            let found = wrong(&topic(|topic| topic.settings = Some(settings(&[(name, value)]))), &need());
            let [(how, text)] = &found[..] else { panic!("{name}={value}: {found:?}") };
            assert_eq!(*how, level, "{name}={value}");
            let fix = format!("--entity-type topics --entity-name app --add-config {mended}");
            assert!(text.ends_with(&fix), "{text}");
        }
    }

    #[test]
    fn replicas_that_are_missing_are_counted() {
        let found = wrong(&topic(|topic| topic.description.in_sync = vec![2, 3]), &need());
        assert!(
            matches!(&found[..], [(Severity::Warning, text)] if text.contains("2 of its 3 copies") && text.ends_with("[1]"))
        );
        let found = wrong(&topic(|topic| topic.description.in_sync = vec![2]), &need());
        assert!(found.iter().any(|(level, text)| *level == Severity::Error && text.contains("needs 2 copies in sync")));
        let found = wrong(&topic(|topic| topic.description.leader = None), &need());
        assert!(matches!(&found[..], [(Severity::Error, text)] if text.contains("no leader")));
        let found = wrong(&topic(|topic| topic.description.partitions = 2), &need());
        assert!(matches!(&found[..], [(Severity::Error, text)] if text.contains("2 partitions")));
    }

    #[test]
    fn what_the_chain_needs_next_must_be_there() {
        let held = |earliest, next| topic(move |topic| topic.offsets = Some(Offsets { earliest, next }));
        assert!(wrong(&held(100, 100), &need()).is_empty());
        assert!(wrong(&held(101, 140), &need())[0].1.contains("begins at offset 101, this node's chain needs 100"));
        assert!(wrong(&held(0, 99), &need())[0].1.contains("up to 99"));
        assert!(wrong(&held(101, 140), &Requirements { next_offset: None, ..need() }).is_empty());
    }

    #[test]
    fn a_topic_that_is_not_there_is_made_or_missed() {
        let none = |brokers: i32| ClusterFacts {
            brokers: (0..brokers).map(|id| BrokerFacts { id, ..BrokerFacts::default() }).collect(),
            topic: None,
        };
        let new = Requirements { next_offset: None, ..need() };
        assert!(wrong(&none(3), &new).is_empty());
        assert!(wrong(&none(1), &new)[0].1.contains("set Kafka.Topic.ReplicationFactor to 1"));
        assert!(wrong(&none(3), &need())[0].1.contains("the chain has processed records up to offset 99"));

        // what it would inherit
        let inherited = [("unclean.leader.election.enable", "true"), ("log.retention.ms", "604800000")];
        let mut facts = none(3);
        facts.brokers[0].settings = Some(settings(&inherited));
        let found = wrong(&facts, &new);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].1.contains("--entity-type brokers --entity-name 0"), "{found:?}");
    }
}
