//! The cluster as a whole: its brokers, its topics, their settings.

use std::sync::Arc;
use std::time::Duration;

use rskafka::protocol::error::Error as Code;
use rskafka::protocol::messages::{CreateTopicConfig, CreateTopicRequest, CreateTopicsRequest, CreateTopicsResponse};
use rskafka::protocol::primitives::{Int16, Int32, NullableString, String_};
use tokio::time::{Instant, sleep};

use crate::api::{Cluster, ClusterDescription, Consumer, KafkaFuture, Producer, Setting, TopicDescription, TopicSpec};
use crate::classify::{subject_error, topic_error};
use crate::connection::Connection;
use crate::consumer::KafkaConsumer;
use crate::dialer::Dialer;
use crate::error::{Error, Operation};
use crate::metadata::{self, TopicLeadership};
use crate::producer::KafkaProducer;
use crate::settings::{Settings, SettingsError};
use crate::wire::configs::{ConfigResource, DescribeConfigs};

/// Interval between checks whether a new topic is known to the brokers: it is not everywhere at once.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A real Kafka cluster. Holds no connection: each question about the cluster opens one and closes it, each producer and
/// each consumer keeps its own.
#[derive(Debug)]
pub struct KafkaCluster {
    dialer: Arc<Dialer>,
}

impl KafkaCluster {
    /// Creates the client and checks the settings. It makes no connection.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        Ok(Self { dialer: Arc::new(Dialer::new(settings)?) })
    }

    fn read_timeout(&self) -> Duration {
        self.dialer.timeouts().read
    }

    async fn look_up(&self, topic: &str) -> Result<TopicLeadership, Error> {
        self.dialer.topic(topic).await.map(|(_, found)| found)
    }

    async fn ensure(&self, spec: &TopicSpec) -> Result<TopicDescription, Error> {
        let until = Instant::now() + self.read_timeout();
        match self.look_up(&spec.name).await {
            Err(Error::UnknownTopic { .. }) => self.create(spec).await?,
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        loop {
            match self.served(&spec.name).await {
                Err(Error::UnknownTopic { .. } | Error::Unavailable { .. }) if Instant::now() < until => {
                    sleep(LOOK_AGAIN_AFTER).await;
                }
                other => return other,
            }
        }
    }

    /// Describes a topic whose leader knows it too: other brokers may name the topic before it is ready.
    async fn served(&self, topic: &str) -> Result<TopicDescription, Error> {
        let found = self.look_up(topic).await?;
        let description = found.description.clone();
        found.leader()?;
        KafkaConsumer::new(Arc::clone(&self.dialer), topic).offsets().await?;
        Ok(description)
    }

    async fn create(&self, spec: &TopicSpec) -> Result<(), Error> {
        let within = self.read_timeout();
        let any = self.dialer.any().await?;
        let connection = match metadata::controller(&any, within).await? {
            Some(address) if address != *any.address() => self.dialer.broker(&address).await?,
            _ => any,
        };
        let request = creation(spec, within);
        let answer = connection.request(Operation::CreateTopic, request, within).await?;
        created(&connection, spec, answer)
    }

    async fn settings(&self, of: ConfigResource, name: String) -> Result<Vec<Setting>, Error> {
        let any = self.dialer.any().await?;
        let connection = match of {
            ConfigResource::Topic => any,
            // a broker tells its own settings only
            ConfigResource::Broker => self.go_to(any, &name).await?,
        };
        let subject = match of {
            ConfigResource::Topic => format!("topic {name}"),
            ConfigResource::Broker => format!("broker {name}"),
        };
        let request = DescribeConfigs { of, name: name.clone() };
        let answer = connection.request(Operation::Settings, request, self.read_timeout()).await?;
        match answer.error {
            None => Ok(answer.settings(of)),
            Some(code) if of == ConfigResource::Topic => Err(topic_error(&name, Operation::Settings, code)),
            Some(code) => Err(subject_error(subject, Operation::Settings, code, answer.message)),
        }
    }

    async fn go_to(&self, any: Connection, broker: &str) -> Result<Connection, Error> {
        let id = broker.parse().unwrap_or(-1);
        match metadata::broker(&any, id, self.read_timeout()).await? {
            Some(address) if address == *any.address() => Ok(any),
            Some(address) => self.dialer.broker(&address).await,
            None => Err(Error::Refused {
                subject: format!("broker {broker}"),
                operation: Operation::Settings,
                code: "not among the brokers alive".to_owned(),
                message: None,
            }),
        }
    }
}

fn creation(spec: &TopicSpec, within: Duration) -> CreateTopicsRequest {
    // a channel's topic is its order: nothing in it may be removed or compacted, whatever the brokers' defaults
    let mut settings = vec![
        ("cleanup.policy", "delete".to_owned()),
        ("retention.ms", "-1".to_owned()),
        ("retention.bytes", "-1".to_owned()),
    ];
    settings.extend(spec.max_message_bytes.map(|limit| ("max.message.bytes", limit.to_string())));
    let configs = settings.into_iter().map(|(name, value)| CreateTopicConfig {
        name: String_(name.to_owned()),
        value: NullableString(Some(value)),
        tagged_fields: None,
    });
    let topic = CreateTopicRequest {
        name: String_(spec.name.clone()),
        num_partitions: Int32(1),
        replication_factor: Int16(spec.replication_factor),
        assignments: vec![],
        configs: configs.collect(),
        tagged_fields: None,
    };
    CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: Int32(i32::try_from(within.as_millis()).unwrap_or(i32::MAX)),
        validate_only: None,
        tagged_fields: None,
    }
}

fn created(connection: &Connection, spec: &TopicSpec, answer: CreateTopicsResponse) -> Result<(), Error> {
    let found = answer.topics.into_iter().find(|found| found.name.0 == spec.name);
    let found = found.ok_or_else(|| Error::Protocol {
        broker: connection.address().to_string(),
        operation: Operation::CreateTopic,
        reason: format!("it says nothing about topic {}", spec.name),
    })?;
    match found.error {
        // another orderer was faster
        None | Some(Code::TopicAlreadyExists) => Ok(()),
        Some(code) => {
            let message = found.error_message.and_then(|message| message.0);
            Err(subject_error(format!("topic {}", spec.name), Operation::CreateTopic, code, message))
        }
    }
}

impl Cluster for KafkaCluster {
    fn describe(&self) -> KafkaFuture<'_, ClusterDescription> {
        Box::pin(async {
            let connection = self.dialer.any().await?;
            metadata::cluster(&connection, self.read_timeout()).await
        })
    }

    fn topic<'a>(&'a self, topic: &'a str) -> KafkaFuture<'a, TopicDescription> {
        Box::pin(async { Ok(self.look_up(topic).await?.description) })
    }

    fn ensure_topic<'a>(&'a self, spec: &'a TopicSpec) -> KafkaFuture<'a, TopicDescription> {
        Box::pin(self.ensure(spec))
    }

    fn topic_settings<'a>(&'a self, topic: &'a str) -> KafkaFuture<'a, Vec<Setting>> {
        Box::pin(self.settings(ConfigResource::Topic, topic.to_owned()))
    }

    fn broker_settings(&self, broker: i32) -> KafkaFuture<'_, Vec<Setting>> {
        Box::pin(self.settings(ConfigResource::Broker, broker.to_string()))
    }

    fn producer(&self, topic: &str) -> Box<dyn Producer> {
        Box::new(KafkaProducer::new(Arc::clone(&self.dialer), topic))
    }

    fn consumer(&self, topic: &str) -> Box<dyn Consumer> {
        Box::new(KafkaConsumer::new(Arc::clone(&self.dialer), topic))
    }
}
