//! The provider's ledger, whoever the provider is: what it has under each key that a gateway gave it.

use super::simulator;
use crate::error::CliError;
use doorbuster_gateway::config::{PaymentConfig, Provider as Kind};
use doorbuster_gateway::ledger::{Entry, Ledger, LedgerError, State as Standing};
use doorbuster_gateway::{ConfigError, GatewayConfig, Key};
use doorbuster_protocol::types::{ReservationId, Timestamp};
use serde::Deserialize;
use std::path::Path;

/// What the provider has under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The key.
    pub key: String,
    /// Where the provider shows it, if not by its key.
    pub place: Option<String>,
    /// In minor units.
    pub amount: u64,
    /// Of which currency.
    pub currency: String,
    /// Taken, given back, declined, or not known yet.
    pub state: State,
    /// How much of it was given back, in minor units.
    pub given_back: u64,
    /// How much more is on its way back.
    pub going_back: u64,
    /// When anything last happened to it, by the provider's clock and as far as it tells.
    pub changed_at: Timestamp,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The provider has the money, or some of it.
    Succeeded,
    /// It took nothing.
    Declined,
    /// It had the money, and gave all of it back.
    Refunded,
    /// It does not know yet.
    InProgress,
}

/// Everything that the provider has of ours.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// What it has.
    pub charges: Vec<Charge>,
    /// How many payments in it were others'.
    pub left_out: u64,
}

/// Whose ledger is read.
pub enum Provider {
    /// That of `doorbuster payment-simulator` at this URL.
    Simulator(String),
    /// Those of Stripe's accounts.
    Stripe(Ledger),
}

impl Charge {
    /// Whose it is: a gateway's key begins with the reservation's 32 hexadecimal digits. Keys of others have none.
    #[must_use]
    pub fn reservation(&self) -> Option<ReservationId> {
        let (id, _) = self.key.split_once('-').filter(|(id, _)| id.len() == 32)?;
        u128::from_str_radix(id, 16).ok().map(ReservationId)
    }

    /// When its reservation was made, which is in the key; of one that no gateway made, when it last changed.
    #[must_use]
    pub fn begun_at(&self) -> Timestamp {
        self.key.parse::<Key>().map_or(self.changed_at, |key| key.made_at)
    }

    /// How people find it.
    #[must_use]
    pub fn name(&self) -> String {
        self.place.as_ref().map_or_else(|| self.key.clone(), |place| format!("{} ({place})", self.key))
    }
}

impl From<Entry> for Charge {
    fn from(entry: Entry) -> Self {
        let state = match entry.state {
            Standing::Succeeded if entry.given_back >= entry.amount => State::Refunded,
            Standing::Succeeded => State::Succeeded,
            Standing::Nothing => State::Declined,
            Standing::Open => State::InProgress,
        };
        Self {
            place: Some(format!("{} at {}", entry.intent, entry.account)),
            key: entry.key,
            amount: entry.amount,
            currency: entry.currency,
            state,
            given_back: entry.given_back,
            going_back: entry.pending_back,
            changed_at: entry.changed_at,
        }
    }
}

impl Provider {
    /// The one that a gateway with this configuration has take the money for this cluster.
    pub fn of_gateway(file: &Path, cluster: &str) -> Result<Self, CliError> {
        let wrong = |error: &ConfigError| {
            let here = if matches!(error, ConfigError::File(..)) {
                "; a path in it is from the folder you are in"
            } else {
                ""
            };
            CliError::usage(format!("--gateway-config {}: {error}{here}", file.display()))
        };
        let PaymentConfig { provider, stripe, simulator, .. } =
            GatewayConfig::load_payment(file).map_err(|error| wrong(&error))?;
        match provider {
            Kind::Stripe => Ledger::new(&stripe, cluster).map(Self::Stripe).map_err(|error| wrong(&error)),
            Kind::Simulator if !simulator.url.is_empty() => Ok(Self::Simulator(simulator.url)),
            Kind::Simulator => Err(CliError::usage(format!(
                "--gateway-config {}: payment.simulator.url is empty, so each gateway has a simulator inside, whose ledger nobody \
                 else can read; lead gateways to `doorbuster payment-simulator`, or to Stripe",
                file.display()
            ))),
        }
    }

    /// The names of its accounts; none if it has no such thing.
    #[must_use]
    pub fn accounts(&self) -> Vec<String> {
        match self {
            Self::Simulator(_) => Vec::new(),
            Self::Stripe(ledger) => ledger.accounts().map(str::to_owned).collect(),
        }
    }

    /// What it has; Stripe, what it was told of since then, if there is a time.
    pub async fn book(&self, since: Option<Timestamp>) -> Result<Book, CliError> {
        match self {
            Self::Simulator(url) => Ok(Book { charges: simulator::ledger(url).await?, left_out: 0 }),
            Self::Stripe(ledger) => {
                let found = ledger.read(since).await?;
                let charges = found.entries.into_iter().map(Charge::from).collect();
                Ok(Book { charges, left_out: found.left_out })
            }
        }
    }
}

impl From<LedgerError> for CliError {
    fn from(error: LedgerError) -> Self {
        match error {
            error if error.is_key() => Self::usage(error.to_string()),
            error if error.is_transient() => Self::unavailable(error.to_string()),
            error => Self::failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: Standing, given_back: u64, pending_back: u64) -> Charge {
        Charge::from(Entry {
            account: "main".into(),
            intent: "pi_1".to_owned(),
            key: "000000000000000000000000000000ff-17-2".to_owned(),
            amount: 500,
            currency: "EUR".to_owned(),
            state,
            given_back,
            pending_back,
            changed_at: Timestamp(99),
        })
    }

    #[test]
    fn keys_name_their_reservations() {
        let charge = entry(Standing::Succeeded, 0, 0);
        assert_eq!((charge.reservation(), charge.begun_at()), (Some(ReservationId(255)), Timestamp(17)));
        assert_eq!(charge.name(), "000000000000000000000000000000ff-17-2 (pi_1 at main)");
        for key in ["", "ff-17-2", "000000000000000000000000000000ff", "gggggggggggggggggggggggggggggggg-1-1"] {
            let charge = Charge { key: key.to_owned(), ..charge.clone() };
            assert_eq!((charge.reservation(), charge.begun_at()), (None, Timestamp(99)), "{key}");
        }
    }

    #[test]
    fn money_is_back_when_all_of_it_is() {
        for (standing, given, pending, expected) in [
            (Standing::Succeeded, 0, 0, State::Succeeded),
            (Standing::Succeeded, 200, 0, State::Succeeded),
            (Standing::Succeeded, 0, 500, State::Succeeded),
            (Standing::Succeeded, 500, 0, State::Refunded),
            (Standing::Succeeded, 1000, 0, State::Refunded),
            (Standing::Nothing, 0, 0, State::Declined),
            (Standing::Open, 0, 0, State::InProgress),
        ] {
            let charge = entry(standing, given, pending);
            assert_eq!(
                (charge.state, charge.given_back, charge.going_back),
                (expected, given, pending),
                "{standing:?}"
            );
        }
    }
}
