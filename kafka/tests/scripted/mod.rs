//! Scripted brokers that answer two requests, byte by byte: the supported versions, and the metadata of a topic.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const METADATA: i16 = 3;
const VERSIONS: i16 = 18;
/// The request versions that these brokers support.
const SPOKEN: [(i16, i16, i16); 2] = [(METADATA, 4, 4), (VERSIONS, 3, 3)];

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;

/// The metadata of every topic, as a broker knows it.
#[derive(Clone, Copy, Debug)]
pub enum Knowledge {
    Nothing,
    NoLeaderYet,
    /// This broker is the leader.
    Leads(i32),
}

/// Brokers with the IDs 1, 2, and so on. Each names all of them.
pub struct ScriptedBrokers {
    ports: Vec<u16>,
    asked: Arc<Vec<AtomicUsize>>,
    _serving: JoinSet<()>,
}

impl ScriptedBrokers {
    pub async fn start<const N: usize>(knowledge: [Knowledge; N], controller: Option<i32>) -> Self {
        let (mut listeners, mut ports) = (Vec::new(), Vec::new());
        for _ in 0..N {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            ports.push(listener.local_addr().unwrap().port());
            listeners.push(listener);
        }
        let asked = Arc::new((0..N).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>());
        let mut serving = JoinSet::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            let broker = Broker {
                index,
                knowledge: knowledge[index],
                controller: controller.unwrap_or(-1),
                ports: ports.clone(),
                asked: Arc::clone(&asked),
            };
            serving.spawn(broker.serve(listener));
        }
        Self { ports, asked, _serving: serving }
    }

    pub fn addresses(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// Returns the number of requests about topics that this broker has answered.
    pub fn asked_about_topics(&self, id: usize) -> usize {
        self.asked[id - 1].load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Broker {
    index: usize,
    knowledge: Knowledge,
    controller: i32,
    ports: Vec<u16>,
    asked: Arc<Vec<AtomicUsize>>,
}

impl Broker {
    async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(self.clone().converse(stream));
        }
    }

    /// Answers requests until the connection ends or an unexpected request arrives.
    async fn converse(self, mut stream: TcpStream) {
        while let Ok(length) = stream.read_u32().await {
            let mut request = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut request).await.unwrap();
            let mut request = Reader(&request);
            let (key, version, correlation) = (request.int16(), request.int16(), request.int32());
            request.string(); // client ID
            let mut answer = correlation.to_be_bytes().to_vec();
            match (key, version) {
                (VERSIONS, 3) => versions(&mut answer),
                (METADATA, 4) => self.metadata(&mut answer, &mut request),
                _ => return,
            }
            stream.write_u32(u32::try_from(answer.len()).unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    }

    fn metadata(&self, answer: &mut Vec<u8>, request: &mut Reader<'_>) {
        let topics: Vec<String> = (0..request.int32()).map(|_| request.string()).collect();
        self.asked[self.index].fetch_add(topics.len(), Ordering::SeqCst);
        answer.extend(0_i32.to_be_bytes()); // throttle time
        answer.extend(count(self.ports.len()));
        for (id, port) in (1_i32..).zip(&self.ports) {
            answer.extend(id.to_be_bytes());
            string(answer, "127.0.0.1");
            answer.extend(i32::from(*port).to_be_bytes());
            answer.extend((-1_i16).to_be_bytes()); // no rack
        }
        answer.extend((-1_i16).to_be_bytes()); // no cluster ID
        answer.extend(self.controller.to_be_bytes());
        answer.extend(count(topics.len()));
        for topic in topics {
            self.describe(answer, &topic);
        }
    }

    fn describe(&self, answer: &mut Vec<u8>, topic: &str) {
        let (error, leader) = match self.knowledge {
            Knowledge::Nothing => (UNKNOWN_TOPIC_OR_PARTITION, None),
            Knowledge::NoLeaderYet => (LEADER_NOT_AVAILABLE, None),
            Knowledge::Leads(leader) => (0, Some(leader)),
        };
        answer.extend(error.to_be_bytes());
        string(answer, topic);
        answer.push(0); // not internal
        answer.extend(count(leader.iter().count()));
        if let Some(leader) = leader {
            answer.extend(0_i16.to_be_bytes()); // no error
            answer.extend(0_i32.to_be_bytes()); // the first partition
            answer.extend(leader.to_be_bytes());
            for _ in ["replicas", "in sync"] {
                answer.extend(count(1));
                answer.extend(leader.to_be_bytes());
            }
        }
    }
}

fn versions(answer: &mut Vec<u8>) {
    answer.extend(0_i16.to_be_bytes()); // no error
    answer.push(u8::try_from(SPOKEN.len() + 1).unwrap());
    for (key, oldest, newest) in SPOKEN {
        for number in [key, oldest, newest] {
            answer.extend(number.to_be_bytes());
        }
        answer.push(0); // no tagged fields
    }
    answer.extend(0_i32.to_be_bytes()); // throttle time
    answer.push(0);
}

fn count(items: usize) -> [u8; 4] {
    i32::try_from(items).unwrap().to_be_bytes()
}

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
    to.extend(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_at(N);
        self.0 = rest;
        taken.try_into().unwrap()
    }

    fn int16(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    fn int32(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    /// Reads a string. Returns an empty one for null.
    fn string(&mut self) -> String {
        let length = usize::try_from(self.int16()).unwrap_or_default();
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8(text.to_vec()).unwrap()
    }
}
