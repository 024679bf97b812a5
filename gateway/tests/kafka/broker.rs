//! A Kafka cluster of a test's own, and what is in its topic.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use doorbuster_gateway::config::KafkaConfig;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::Value;
use tokio::time::Instant;

use crate::postgres::SPAWNING;

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Broker {
    pub mock: MockCluster<'static, DefaultProducerContext>,
}

/// A message as it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub key: String,
    pub partition: i32,
    pub headers: BTreeMap<String, String>,
    body: String,
    pub event: Value,
}

/// Reads the topic from its beginning.
pub struct Reader {
    consumer: BaseConsumer,
    pub read: Vec<Read>,
}

impl Broker {
    /// Three brokers and the topic.
    pub fn start() -> Self {
        let mock = MockCluster::new(3).unwrap();
        mock.create_topic(TOPIC, PARTITIONS, 3).unwrap();
        Self { mock }
    }

    /// What a gateway is told of it.
    pub fn config(&self) -> KafkaConfig {
        let property = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        KafkaConfig {
            brokers: self.mock.bootstrap_servers().split(',').map(str::to_owned).collect(),
            topic: TOPIC.to_owned(),
            // Found again as soon as it is back.
            properties: [("reconnect.backoff.ms", "50"), ("reconnect.backoff.max.ms", "300")].map(property).into(),
            ..KafkaConfig::default()
        }
    }

    /// Its brokers open their ports again at once, though they do not listen, and abort the process if they cannot: because a
    /// process that is being started has the old ones for a moment.
    pub fn down(&self) {
        let _none_starts = SPAWNING.write();
        self.mock.broker_down(-1).unwrap();
    }

    pub fn up(&self) {
        self.mock.broker_up(-1).unwrap();
    }

    pub fn reader(&self) -> Reader {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.mock.bootstrap_servers())
            .set("group.id", "a-test")
            .set("enable.auto.commit", "false")
            .set("reconnect.backoff.max.ms", "300")
            .create()
            .unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        Reader { consumer, read: Vec::new() }
    }
}

impl Reader {
    /// Reads until this holds, a minute at most.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&[Read]) -> bool) {
        let end = Instant::now() + PATIENCE;
        tokio::task::block_in_place(|| {
            while !holds(&self.read) {
                assert!(Instant::now() < end, "never: {what}; {} messages", self.read.len());
                if let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(50)) {
                    self.read.push(Read::of(&message));
                }
            }
        });
    }

    /// Until so many different events are there.
    pub fn until_different(&mut self, count: usize) {
        self.until(&format!("{count} different events"), |read| read.len() >= count && different(read) >= count);
    }

    /// Reads for so long.
    pub fn for_a_while(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.until("the end", |_| Instant::now() >= end);
    }

    /// How many messages say what an earlier one said. Each is what was said then, keyed by its product; a product is in one
    /// partition; and of a product, each event's first message comes behind the first ones of those before it.
    pub fn duplicates(&self) -> usize {
        let mut first: HashMap<&str, &Read> = HashMap::new();
        let mut behind: HashMap<&str, (i32, u64)> = HashMap::new();
        let mut duplicates = 0;
        for read in &self.read {
            assert_eq!(read.key, read.event["product"].to_string());
            if let Some(earlier) = first.insert(read.id(), read) {
                assert_eq!(earlier, read);
                duplicates += 1;
                continue;
            }
            let (partition, before) = behind.entry(&read.key).or_insert((read.partition, 0));
            let position = read.event["position"].as_u64().unwrap();
            assert_eq!(*partition, read.partition, "product {} is in two partitions", read.key);
            assert!(*before < position, "{} comes behind {before} of product {}", position, read.key);
            *before = position;
        }
        duplicates
    }

    /// Every position of these shards' feeds up to this one is there.
    pub fn assert_complete(&self, shards: u16, each: u64) {
        let mut found: Vec<_> = self.read.iter().map(|read| (read.number("shard"), read.number("position"))).collect();
        found.sort_unstable();
        found.dedup();
        let expected = (0..u64::from(shards)).flat_map(|shard| (1..=each).map(move |position| (shard, position)));
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
}

impl Read {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (headers, body) = (message.headers().unwrap(), text(message.payload().unwrap()));
        Self {
            key: text(message.key().unwrap()),
            partition: message.partition(),
            headers: headers.iter().map(|header| (header.key.to_owned(), text(header.value.unwrap()))).collect(),
            event: serde_json::from_str(&body).unwrap(),
            body,
        }
    }

    pub fn id(&self) -> &str {
        self.event["id"].as_str().unwrap()
    }

    fn number(&self, name: &str) -> u64 {
        self.event[name].as_u64().unwrap()
    }
}

fn different(read: &[Read]) -> usize {
    let mut ids: Vec<_> = read.iter().map(Read::id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.len()
}
