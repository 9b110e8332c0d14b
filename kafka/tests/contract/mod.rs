//! The contract of all implementations of the traits: the same tests run against the fake and the real client.

#![allow(unreachable_pub, reason = "tests have no users")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use orderer_kafka::{Cluster, Error, FetchLimits, Offsets};

use crate::support::{LIMITS, read, spec, text, timed, values, with_topic};

pub async fn holds(cluster: &dyn Cluster) {
    a_topic_is_made_once(cluster).await;
    what_is_produced_is_read_in_order(cluster).await;
    a_topic_knows_what_it_holds(cluster).await;
    a_poll_waits_for_a_record_and_not_longer(cluster).await;
    nothing_is_invented(cluster).await;
}

async fn a_topic_is_made_once(cluster: &dyn Cluster) {
    let missing = cluster.topic("once").await;
    assert!(matches!(&missing, Err(Error::UnknownTopic { topic }) if topic == "once"), "{missing:?}");
    let made = cluster.ensure_topic(&spec("once", 1)).await.unwrap();
    assert_eq!((made.partitions, made.replicas.len(), made.in_sync.len()), (1, 1, 1));
    assert_eq!(made.leader, Some(made.replicas[0]));
    assert_eq!(cluster.ensure_topic(&spec("once", 1)).await.unwrap(), made);
    assert_eq!(cluster.topic("once").await.unwrap(), made);
    let settings = cluster.topic_settings("once").await.unwrap();
    let value = |name| settings.iter().find(|found| found.name == name).and_then(|found| found.value.clone());
    assert_eq!(value("retention.ms").as_deref(), Some("-1"));
    assert_eq!(value("cleanup.policy").as_deref(), Some("delete"));
    assert!(!cluster.describe().await.unwrap().brokers.is_empty());
}

async fn what_is_produced_is_read_in_order(cluster: &dyn Cluster) {
    with_topic(cluster, "ordered").await;
    let mut producer = cluster.producer("ordered");
    producer.connect().await.unwrap();
    let mut expected = Vec::new();
    for batch in 0..50 {
        let texts: Vec<_> = (0..=batch % 7).map(|n| format!("{batch}.{n}")).collect();
        let produced = producer.produce(values(&texts)).await.unwrap();
        assert_eq!(produced.base_offset, i64::try_from(expected.len()).unwrap());
        assert_eq!(produced.throttled, None);
        expected.extend(texts);
    }
    let mut consumer = cluster.consumer("ordered");
    let end = i64::try_from(expected.len()).unwrap();
    // from the start, and from the middle of a batch
    for from in [0, 5] {
        let records = read(&mut *consumer, from, end).await;
        let offsets: Vec<_> = records.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, (from..end).collect::<Vec<_>>());
        let texts: Vec<_> = records.iter().map(text).collect();
        assert_eq!(texts, expected[usize::try_from(from).unwrap()..]);
    }
}

async fn a_topic_knows_what_it_holds(cluster: &dyn Cluster) {
    with_topic(cluster, "held").await;
    let mut consumer = cluster.consumer("held");
    assert_eq!(consumer.offsets().await.unwrap(), Offsets { earliest: 0, next: 0 });
    cluster.producer("held").produce(values(&["a", "b"])).await.unwrap();
    let held = Offsets { earliest: 0, next: 2 };
    assert_eq!(consumer.offsets().await.unwrap(), held);
    for offset in [-1, 3] {
        let refused = consumer.fetch(offset, LIMITS).await;
        let expected = matches!(
            &refused,
            Err(Error::OffsetOutOfRange { offset: asked, held: Some(found), .. }) if *asked == offset && *found == held
        );
        assert!(expected, "{refused:?}");
    }
    // neither the end of the topic nor a fetch after an error is an error
    let at_end = FetchLimits { max_wait: Duration::from_millis(10), ..LIMITS };
    let fetched = consumer.fetch(2, at_end).await.unwrap();
    assert_eq!((fetched.records.len(), fetched.next_offset, fetched.high_watermark), (0, 2, 2));
}

async fn a_poll_waits_for_a_record_and_not_longer(cluster: &dyn Cluster) {
    with_topic(cluster, "polled").await;
    let (mut producer, mut consumer) = (cluster.producer("polled"), cluster.consumer("polled"));
    producer.connect().await.unwrap();
    let short = FetchLimits { max_wait: Duration::from_millis(300), ..LIMITS };
    let (took, fetched) = timed(consumer.fetch(0, short)).await;
    assert!(fetched.unwrap().records.is_empty() && took >= short.max_wait, "{took:?}");
    let long = FetchLimits { max_wait: Duration::from_secs(20), ..LIMITS };
    let (took, (fetched, produced)) =
        timed(async { tokio::join!(consumer.fetch(0, long), producer.produce(values(&["late"]))) }).await;
    produced.unwrap();
    assert_eq!(fetched.unwrap().records.iter().map(text).collect::<Vec<_>>(), ["late"]);
    assert!(took < long.max_wait / 2, "{took:?}");
}

async fn nothing_is_invented(cluster: &dyn Cluster) {
    let produced = cluster.producer("nowhere").produce(values(&["lost"])).await;
    assert!(matches!(produced, Err(Error::UnknownTopic { .. })), "{produced:?}");
    let fetched = cluster.consumer("nowhere").fetch(0, LIMITS).await;
    assert!(matches!(fetched, Err(Error::UnknownTopic { .. })), "{fetched:?}");
    assert!(matches!(cluster.topic("nowhere").await, Err(Error::UnknownTopic { .. })));
    let empty = cluster.producer("once").produce(vec![]).await;
    assert!(matches!(empty, Err(Error::Refused { .. })), "{empty:?}");
    cluster.producer("once").check_permission().await.unwrap();
    assert_eq!(cluster.consumer("once").offsets().await.unwrap().next, 0);
}
