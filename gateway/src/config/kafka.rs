//! What a gateway is told about Kafka.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ConfigError, field, is_host_port};

/// Longest name of a topic, as brokers have it.
const MAX_TOPIC: usize = 249;
/// Properties that the publisher's promises rest on, or that say what `brokers` says.
const OWN: [&str; 11] = [
    "acks",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "message.timeout.ms",
    "metadata.broker.list",
    "queuing.strategy",
    "request.required.acks",
    "test.mock.num.brokers",
    "transactional.id",
];

/// Kafka, which events are published to. Only in a build with the feature `kafka`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// Some of its brokers, `host:port` each, at least one; the others are learnt from them.
    pub brokers: Vec<String>,
    /// The topic, which must exist, or brokers create it: 1 to 249 letters, digits, `.`, `_` and `-`.
    pub topic: String,
    /// Further properties of librdkafka, each as text. Not what is secret, and not what delivery rests on. Default none.
    pub properties: BTreeMap<String, String>,
    /// Properties whose value is what a file holds; white space at its end is not part of it. Default none.
    pub secret_files: BTreeMap<String, PathBuf>,
    /// Properties whose value is what an environment variable holds. Default none.
    pub secret_envs: BTreeMap<String, String>,
}

impl KafkaConfig {
    /// Checks the fields, not what they lead to.
    ///
    /// # Errors
    /// The first field that is not acceptable.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if !cfg!(feature = "kafka") {
            let fix = "this build cannot publish events: remove the section, or build with `--features kafka`";
            return Err(field("kafka", "set", fix));
        }
        if self.brokers.is_empty() {
            return Err(field("kafka.brokers", "[]", "name at least one broker, host:port"));
        }
        if let Some(bad) = self.brokers.iter().find(|broker| !is_host_port(broker)) {
            return Err(field("kafka.brokers", bad, "give host:port, such as 10.0.0.7:9092"));
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_topic = (1..=MAX_TOPIC).contains(&self.topic.len()) && self.topic.bytes().all(fits);
        if !is_topic || [".", ".."].contains(&self.topic.as_str()) {
            let fix = format!("give 1 to {MAX_TOPIC} letters, digits, '.', '_' and '-'");
            return Err(field("kafka.topic", &self.topic, &fix));
        }
        self.validate_properties()
    }

    fn validate_properties(&self) -> Result<(), ConfigError> {
        let names = || self.properties.keys().chain(self.secret_files.keys()).chain(self.secret_envs.keys());
        if let Some(own) = names().find(|name| OWN.contains(&name.as_str())) {
            let fix = "remove it: kafka.brokers says where, and what delivery rests on is not to be changed";
            return Err(field("kafka.properties", own, fix));
        }
        if let Some(secret) = self.properties.keys().find(|name| is_secret(name)) {
            let fix = "that is a secret: name its file in kafka.secret_files, or its variable in kafka.secret_envs";
            return Err(field("kafka.properties", secret, fix));
        }
        if let Some(twice) = names().find(|name| names().filter(|other| other == name).count() > 1) {
            return Err(field("kafka.secret_files", twice, "give this property's value in one place"));
        }
        Ok(())
    }

    /// All properties that are told, with the secrets' values.
    ///
    /// # Errors
    /// A file that cannot be read, or a variable that is not set.
    #[cfg(feature = "kafka")]
    pub(crate) fn told(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let mut all = self.properties.clone();
        for (name, path) in &self.secret_files {
            let text = std::fs::read_to_string(path).map_err(|error| ConfigError::File(path.clone(), error))?;
            all.insert(name.clone(), text.trim_end().to_owned());
        }
        for (name, variable) in &self.secret_envs {
            let missing = |_| field("kafka.secret_envs", variable, "set that environment variable");
            all.insert(name.clone(), std::env::var(variable).map_err(missing)?);
        }
        Ok(all)
    }
}

/// Whether a property of this name holds what must not be in a configuration file, or shown.
pub(crate) fn is_secret(name: &str) -> bool {
    ["password", "passphrase", "secret", "key.pem"].iter().any(|word| name.contains(word))
}
