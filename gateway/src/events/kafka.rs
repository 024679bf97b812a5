//! The Kafka client: hands events over, and tells what became of each.
//!
//! Its producer is idempotent and keeps events for as long as it takes (no timeout of its own): what it was handed in one order, brokers have
//! in that order, each partition for itself, and once. Where it cannot promise that any more, it fails for good
//! (`enable.gapless.guarantee`). After any failure the whole producer is given up, and with it what it still has: another begins where
//! the database says, so nothing behind what failed comes before it.

use std::collections::VecDeque;

use ::metrics::Counter;
use doorbuster_protocol::reply::FeedEntry;
use doorbuster_protocol::types::ShardId;
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};

use super::event::Event;
use crate::config::{ConfigError, KafkaConfig, field, is_secret};

/// What the promises rest on. `message.timeout.ms` 0 is for ever.
const PROMISES: [(&str, &str); 5] = [
    ("enable.idempotence", "true"),
    ("enable.gapless.guarantee", "true"),
    ("acks", "all"),
    ("message.timeout.ms", "0"),
    ("queuing.strategy", "fifo"),
];
/// What a configuration may change: keys go where the Java client sends them.
const DEFAULTS: [(&str, &str); 2] = [("client.id", "doorbuster-gateway"), ("partitioner", "murmur2_random")];

/// See the module.
pub(super) struct Kafka {
    config: ClientConfig,
    topic: String,
    errors: Counter,
    producer: Mutex<Producer>,
}

/// The producer in use, if there is one, and how many there were.
struct Producer {
    generation: u64,
    client: Option<FutureProducer<Context>>,
}

/// Counts what the client complains of.
#[derive(Clone)]
struct Context {
    errors: Counter,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        self.errors.increment(1);
        tracing::warn!(%error, reason, "Kafka: events wait in the database");
    }
}

/// Events on their way, in order.
pub(super) struct Sent {
    generation: u64,
    deliveries: VecDeque<DeliveryFuture>,
    /// So many of them, the first ones, have arrived.
    pub delivered: usize,
}

impl Kafka {
    /// Begins to connect in the background.
    ///
    /// # Errors
    /// A property that the client does not know or take; a secret that cannot be read.
    pub fn new(config: &KafkaConfig, errors: Counter) -> Result<Self, ConfigError> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", config.brokers.join(","));
        client.extend(DEFAULTS.map(owned));
        client.extend(config.told()?);
        client.extend(PROMISES.map(owned));
        let mut producer = Producer { generation: 0, client: None };
        producer.begin(&client, &errors).map_err(|error| not_taken(&error))?;
        Ok(Self { config: client, topic: config.topic.clone(), errors, producer: Mutex::new(producer) })
    }

    /// Hands over entries of a shard's feed, as many as the client has room for.
    ///
    /// # Errors
    /// If the client takes none at all; it is given up then.
    pub fn send(&self, cluster: &str, shard: ShardId, entries: &[FeedEntry]) -> Result<Sent, KafkaError> {
        let mut producer = self.producer.lock();
        let client = producer.begin(&self.config, &self.errors)?;
        let (mut deliveries, mut failed) = (VecDeque::new(), None);
        for entry in entries {
            match self.hand_over(client, &Event::of(cluster, shard, entry)) {
                Ok(delivery) => deliveries.push_back(delivery),
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => break,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let sent = Sent { generation: producer.generation, deliveries, delivered: 0 };
        drop(producer);
        match failed {
            Some(error) if sent.deliveries.is_empty() => {
                self.give_up(sent.generation);
                Err(error)
            }
            _ => Ok(sent),
        }
    }

    /// Does no longer use the producer of these, if it still does. What it has not delivered is forgotten.
    pub fn give_up(&self, generation: u64) {
        let mut producer = self.producer.lock();
        if producer.generation == generation
            && let Some(client) = producer.client.take()
        {
            // Waits for its threads.
            tokio::task::spawn_blocking(|| drop(client));
        }
    }

    /// Ends.
    pub async fn close(&self) {
        let client = self.producer.lock().client.take();
        if let Err(error) = tokio::task::spawn_blocking(|| drop(client)).await {
            tracing::error!(%error, "the Kafka client did not end well");
        }
    }

    fn hand_over(&self, client: &FutureProducer<Context>, event: &Event<'_>) -> Result<DeliveryFuture, KafkaError> {
        let headers = [
            ("id", event.id.as_str()),
            ("type", event.type_name),
            ("schema", Event::SCHEMA),
            ("content-type", "application/json"),
        ];
        let insert =
            |all: OwnedHeaders, (key, value): (&str, &str)| all.insert(Header { key, value: Some(value.as_bytes()) });
        let headers = headers.into_iter().fold(OwnedHeaders::new_with_capacity(headers.len()), insert);
        let (key, json) = (event.key(), event.json());
        let record = FutureRecord::to(&self.topic).key(&key).payload(&json).headers(headers);
        client.send_result(record).map_err(|(error, _)| error)
    }
}

impl Producer {
    /// The client, or another if it was given up.
    fn begin(&mut self, config: &ClientConfig, errors: &Counter) -> Result<&FutureProducer<Context>, KafkaError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                self.generation += 1;
                config.create_with_context(Context { errors: errors.clone() })?
            }
        };
        Ok(self.client.insert(client))
    }
}

impl Sent {
    /// Of which producer they are.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Waits until all have arrived, or the first that has not has failed. Cancelled, it goes on where it was.
    ///
    /// # Errors
    /// What the client says of that one.
    pub async fn all(&mut self) -> Result<(), KafkaError> {
        while let Some(next) = self.deliveries.front_mut() {
            match next.await {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => return Err(error),
                Err(_) => return Err(KafkaError::Canceled),
            }
            self.deliveries.pop_front();
            self.delivered += 1;
        }
        Ok(())
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// What the client objects to, without what is secret.
fn not_taken(error: &KafkaError) -> ConfigError {
    match error {
        KafkaError::ClientConfig(_, _, name, _) if is_secret(name) => {
            field("kafka.secret_files", name, "the Kafka client does not take this property's value")
        }
        KafkaError::ClientConfig(_, problem, name, _) => field("kafka.properties", name, problem),
        other => field("kafka.properties", "taken together", &other.to_string()),
    }
}
