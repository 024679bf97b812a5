//! The flags that every subcommand which talks to a cluster shares, and the connection they make.

use crate::error::CliError;
use crate::names::parse_duration;
use clap::Args;
use doorbuster_client::{Client, Config};
use doorbuster_protocol::types::Millis;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the cluster is and how to be let in.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Client addresses of the servers, host:port, comma-separated; one that is up leads to the others
    #[arg(
        long,
        global = true,
        env = "DOORBUSTER_NODES",
        value_delimiter = ',',
        default_value = "127.0.0.1:7400",
        value_name = "HOST:PORT,..."
    )]
    pub nodes: Vec<String>,
    /// The cluster's name; servers of another cluster refuse
    #[arg(long, global = true, env = "DOORBUSTER_CLUSTER", default_value = "doorbuster", value_name = "NAME")]
    pub cluster: String,
    /// File that holds the shared secret which the servers were given; without it none is sent
    #[arg(long, global = true, env = "DOORBUSTER_CREDENTIAL_FILE", value_name = "FILE")]
    pub credential_file: Option<PathBuf>,
    /// How long to try before giving up, with a unit
    #[arg(long, global = true, env = "DOORBUSTER_TIMEOUT", default_value = "5s", value_parser = parse_duration, value_name = "DURATION")]
    pub timeout: Millis,
    /// Print one JSON document for programs instead of tables; an error too, on stderr
    #[arg(long, global = true)]
    pub json: bool,
}

impl Connection {
    /// Connects to the cluster.
    pub async fn open(&self) -> Result<Client, CliError> {
        Ok(Client::connect(self.config()?).await?)
    }

    /// What a client needs to connect.
    pub fn config(&self) -> Result<Config, CliError> {
        Ok(Config {
            nodes: self.nodes.clone(),
            cluster: self.cluster.clone(),
            credential: self.credential_file.as_deref().map(read_credential).transpose()?,
            deadline: Duration::from_millis(self.timeout.0),
            name: "doorbuster-cli".to_owned(),
            ..Config::default()
        })
    }
}

/// The shared secret that this client shows: the first of the file, which has one a line, as the servers read it.
pub fn read_credential(path: &Path) -> Result<Vec<u8>, CliError> {
    let (shown, advice) = (path.display(), "name the file the servers use");
    let text = std::fs::read(path)
        .map_err(|error| CliError::usage(format!("cannot read the credential file {shown}: {error}; {advice}")))?;
    let secret = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).find(|line| !line.is_empty());
    let empty = || CliError::usage(format!("the credential file {shown} is empty; it must hold the shared secret"));
    secret.map(<[u8]>::to_vec).ok_or_else(empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_secret_of_the_file_is_shown() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("credential");
        for (text, secret) in
            [("one", Some("one")), ("one\r\ntwo\n", Some("one")), ("\n two \n", Some("two")), ("\n", None)]
        {
            std::fs::write(&path, text).expect("the folder takes a file");
            assert_eq!(read_credential(&path).ok(), secret.map(|secret| secret.as_bytes().to_vec()), "{text:?}");
        }
        assert!(read_credential(&folder.path().join("none")).is_err());
    }
}
