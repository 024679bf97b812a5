//! Stripe, by its PaymentIntents.
//!
//! Stripe has nothing to ask for an idempotency key, and nothing to close one. So a charge is two requests. The first makes
//! the intent, without a card, under our key: its parameters follow from the reservation alone, so whoever sends it, and
//! however often, Stripe answers with the same intent. The second confirms it with the card, under a key of its own, so that
//! at most one confirmation is ever carried out. Who has no card makes the intent likewise, which takes nothing, and then
//! knows where to look, what to cancel (a cancelled intent refuses every confirmation, however late) and what to refund.
//!
//! Stripe forgets an idempotency key when it is at least 24 hours old. RULE: an intent that was made less than
//! [`REMEMBERED`] after its reservation is the first under its key, because the key cannot have been used more than 24 hours
//! before. One that was made later may be a second one: then Stripe is searched for all intents of the key, and the one with
//! the money counts, else the first. Searching lags by about a minute, but what it may have to find is a day old. This
//! holds as long as the clocks of Stripe and of the cluster are less than an hour apart.
//!
//! A user's reservations are paid at one account of several (`choice`), each with its own turns and breaker (`pacing`).
//!
//! A card that was declined is not tried again under the key: the next attempt has another key.
//!
//! What all accounts have together is read by `ledger`, which asks and changes nothing.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use doorbuster_protocol::types::{Millis, Timestamp, UserId};
use hyper::{Method, StatusCode};
use parking_lot::Mutex;
use url::{Host, Url};

use self::api::{Answer, Api, Ask, Line, NoAnswer};
use self::choice::{Term, account_of};
use self::shapes::{Given, Intent, List, Refund, Refusal, Standing};
use super::origin::{Origin, Trust};
use super::pacing::queue::Rank;
use super::pacing::{AccountReport, Pacer};
use super::provider::{Answering, Charge, Charged, Key, Known, PaymentProvider, Purchase};
use crate::clock::wall;
use crate::config::{AccountConfig, ConfigError, StripeConfig, field};

mod api;
pub mod choice;
pub mod ledger;
mod shapes;

/// For so long after it was made, a key is surely remembered: an hour less than Stripe says.
const REMEMBERED: Millis = Millis(23 * 3600 * 1000);
/// Intents remembered at once, which saves a request each; the first are forgotten first.
const MAX_OPENED: usize = 1 << 16;

/// See the module.
pub struct Stripe {
    accounts: Vec<Account>,
    /// In the order of `accounts`.
    terms: Vec<Term>,
}

/// One that takes money.
struct Account {
    name: String,
    /// Whose intents it makes: an account may have those of others, too.
    cluster: String,
    api: Api,
    opened: Mutex<Opened>,
}

/// The intents of keys.
#[derive(Default)]
struct Opened {
    intents: HashMap<Key, Found>,
    /// Oldest first.
    order: VecDeque<Key>,
}

/// Where a key leads.
#[derive(Clone, Debug)]
struct Found {
    intent: String,
    /// It was searched for: what came of it may be known and its idempotency keys forgotten.
    is_old: bool,
}

/// What opening a key comes to.
enum Opening {
    Found(Found),
    /// Nothing can ever be charged under this key, for this reason.
    Never(&'static str),
}

impl Stripe {
    /// Stripe at the configured address, for this cluster.
    ///
    /// # Errors
    /// A key or certificates that cannot be read, or used.
    pub fn new(config: &StripeConfig, cluster: &str) -> Result<Self, ConfigError> {
        let terms = config.terms()?;
        let account = |account| Account::new(config, account, cluster);
        let accounts = config.accounts.iter().map(account).collect::<Result<_, _>>()?;
        Ok(Self { accounts, terms })
    }

    /// Where a reservation of that time is paid.
    fn account(&self, user: UserId, made_at: Timestamp) -> &Account {
        &self.accounts[account_of(&self.terms, user, made_at)]
    }

    fn account_for(&self, purchase: &Purchase) -> &Account {
        self.account(purchase.user, purchase.key.made_at)
    }
}

impl Account {
    fn new(stripe: &StripeConfig, config: &AccountConfig, cluster: &str) -> Result<Self, ConfigError> {
        let api = Api::new(line(stripe, config)?, &config.name, Pacer::new(config.requests_per_second));
        Ok(Self { name: config.name.clone(), cluster: cluster.to_owned(), api, opened: Mutex::default() })
    }

    async fn charged(&self, charge: &Charge) -> Result<Known, NoAnswer> {
        let purchase = &charge.purchase;
        let found = match self.open(purchase).await? {
            Opening::Found(found) => found,
            Opening::Never(reason) => return Ok(Known::Declined(reason)),
        };
        if found.is_old {
            let known = self.look(&found.intent).await?;
            if known != Known::NotFound {
                return Ok(known);
            }
        }
        let (path, key) =
            (format!("/v1/payment_intents/{}/confirm", found.intent), format!("{}-confirm", purchase.key));
        let form = [("payment_method", charge.card_token.as_str())];
        let answer = self.api.ask(Ask { method: &Method::POST, path: &path, key: Some(&key), form: &form }).await?;
        self.confirmed(&found.intent, &answer).await
    }

    /// What the answer to a confirmation means.
    async fn confirmed(&self, intent: &str, answer: &Answer) -> Result<Known, NoAnswer> {
        if answer.status.is_success() {
            return match answer.done::<Intent>()?.status.as_str() {
                "succeeded" => Ok(Known::Succeeded),
                "requires_action" => self.close(intent, "authentication_required").await,
                // The answer is kept for the key; where the intent stands now is not in it.
                _ => self.look(intent).await,
            };
        }
        let refusal = Refusal::of(&answer.body);
        match (answer.status, refusal.code.as_deref()) {
            (StatusCode::PAYMENT_REQUIRED, _) => Ok(Known::Declined(refusal.reason())),
            // Another gateway confirms with another card, or has; or the intent is over.
            _ if refusal.is_other_request() => self.look(intent).await,
            // Refused before it was carried out, so nothing is kept for the key: another card might yet go through.
            (_, Some("resource_missing")) => self.close(intent, "invalid_card_token").await,
            _ => self.close(intent, "card_declined").await,
        }
    }

    async fn outcome_of(&self, purchase: &Purchase) -> Result<Known, NoAnswer> {
        match self.open(purchase).await? {
            Opening::Found(found) => self.look(&found.intent).await,
            Opening::Never(reason) => Ok(Known::Declined(reason)),
        }
    }

    async fn cancelled(&self, purchase: &Purchase) -> Result<Known, NoAnswer> {
        match self.open(purchase).await? {
            Opening::Found(found) => self.close(&found.intent, "cancelled").await,
            Opening::Never(reason) => Ok(Known::Declined(reason)),
        }
    }

    async fn refunded(&self, purchase: &Purchase) -> Result<Known, NoAnswer> {
        let found = match self.open(purchase).await? {
            Opening::Found(found) => found,
            Opening::Never(reason) => return Ok(Known::Declined(reason)),
        };
        let intent = self.retrieve(&found.intent).await?;
        if let Standing::Known(known) = intent.standing()
            && known != Known::Succeeded
        {
            return Ok(known);
        }
        let failed = match intent.given(&self.refunds(&intent).await?) {
            Given::All => return Ok(Known::Refunded),
            Given::Pending => return Ok(Known::InProgress),
            Given::Left(failed) => failed,
        };
        // Without an amount it is all that is left. A refund that failed keeps its key; the next has another.
        let key = format!("{}-refund-{failed}", purchase.key);
        let form = [("payment_intent", intent.id.as_str())];
        let answer =
            self.api.ask(Ask { method: &Method::POST, path: "/v1/refunds", key: Some(&key), form: &form }).await?;
        match answer.done::<Refund>() {
            Ok(refund) if refund.status == "succeeded" => Ok(Known::Refunded),
            Ok(refund) if refund.status == "pending" => Ok(Known::InProgress),
            // Somebody else was quicker, perhaps: the next time, the list of refunds tells.
            _ => Err(NoAnswer),
        }
    }

    /// Finds the intent of a key, and makes it if there is none.
    async fn open(&self, purchase: &Purchase) -> Result<Opening, NoAnswer> {
        if let Some(found) = self.opened.lock().intents.get(&purchase.key) {
            return Ok(Opening::Found(found.clone()));
        }
        let (key, product) = (purchase.key.to_string(), purchase.product.to_string());
        let (minor, currency) =
            (purchase.amount.minor.to_string(), purchase.amount.currency.to_string().to_lowercase());
        let form = [
            ("amount", minor.as_str()),
            ("currency", currency.as_str()),
            ("payment_method_types[]", "card"),
            ("metadata[doorbuster_cluster]", self.cluster.as_str()),
            ("metadata[doorbuster_key]", key.as_str()),
            ("metadata[doorbuster_product]", product.as_str()),
        ];
        let path = "/v1/payment_intents";
        let answer = self.api.ask(Ask { method: &Method::POST, path, key: Some(&key), form: &form }).await?;
        let found = if answer.status.is_success() {
            let made: Intent = answer.done()?;
            let is_old = Timestamp(made.created.saturating_mul(1000)).since(purchase.key.made_at) > REMEMBERED;
            let intent = if is_old { self.search(&key, Some(made)).await? } else { made.id };
            Found { intent, is_old }
        } else if Refusal::of(&answer.body).is_other_request() {
            // Another release of ours made it with other parameters: there is one, and it must be found.
            tracing::warn!(key, "the payment intent was made with other parameters; searching for it");
            Found { intent: self.search(&key, None).await?, is_old: true }
        } else {
            return unopened(&answer, &key).map(Opening::Never);
        };
        self.opened.lock().keep(purchase.key, found.clone());
        Ok(Opening::Found(found))
    }

    /// The intent that counts of all that were ever made for a key, `made` among them.
    async fn search(&self, key: &str, made: Option<Intent>) -> Result<String, NoAnswer> {
        let query = format!("metadata['doorbuster_key']:'{key}'");
        let (path, form) = ("/v1/payment_intents/search", [("query", query.as_str()), ("limit", "100")]);
        let mut found = self.get::<List<Intent>>(path, &form).await?.data;
        found.extend(made);
        Intent::that_counts(found).map(|intent| intent.id).ok_or(NoAnswer)
    }

    /// Where an intent stands now.
    async fn look(&self, intent: &str) -> Result<Known, NoAnswer> {
        let intent = self.retrieve(intent).await?;
        match intent.standing() {
            Standing::Known(known) => Ok(known),
            Standing::Refunds => Ok(match intent.given(&self.refunds(&intent).await?) {
                Given::All => Known::Refunded,
                Given::Pending => Known::InProgress,
                Given::Left(_) => Known::Succeeded,
            }),
        }
    }

    /// Makes an intent refuse every charge from now on, if it has taken nothing; `reason` is what a buyer is told then.
    async fn close(&self, intent: &str, reason: &'static str) -> Result<Known, NoAnswer> {
        // Without an idempotency key: a refusal that was true once must not be kept.
        let path = format!("/v1/payment_intents/{intent}/cancel");
        let answer = self.api.ask(Ask { method: &Method::POST, path: &path, key: None, form: &[] }).await?;
        match answer.done::<Intent>().map(|intent| intent.standing()) {
            Ok(Standing::Known(Known::Declined("cancelled"))) => Ok(Known::Declined(reason)),
            Ok(Standing::Known(known)) => Ok(known),
            // It is over already, one way or another.
            Ok(Standing::Refunds) | Err(NoAnswer) => self.look(intent).await,
        }
    }

    async fn retrieve(&self, intent: &str) -> Result<Intent, NoAnswer> {
        self.get(&format!("/v1/payment_intents/{intent}"), &[("expand[]", "latest_charge")]).await
    }

    async fn refunds(&self, intent: &Intent) -> Result<Vec<Refund>, NoAnswer> {
        let form = [("payment_intent", intent.id.as_str()), ("limit", "100")];
        self.get::<List<Refund>>("/v1/refunds", &form).await.map(|list| list.data)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str, form: &[(&str, &str)]) -> Result<T, NoAnswer> {
        let answer = self.api.ask(Ask { method: &Method::GET, path, key: None, form }).await?;
        if !answer.status.is_success() {
            tracing::error!(path, status = %answer.status, code = Refusal::of(&answer.body).code, "Stripe refuses a question");
        }
        answer.done()
    }
}

impl PaymentProvider for Stripe {
    fn charge<'a>(&'a self, charge: &'a Charge) -> Answering<'a, Charged> {
        Box::pin(async move {
            match self.account_for(&charge.purchase).charged(charge).await {
                Ok(Known::Succeeded) => Charged::Succeeded,
                Ok(Known::Declined(reason)) => Charged::Declined(reason),
                // Whoever asks what came of it is told.
                Ok(Known::NotFound | Known::InProgress | Known::Refunded | Known::Unclear) | Err(NoAnswer) => {
                    Charged::Unclear
                }
            }
        })
    }

    fn outcome(&self, purchase: Purchase) -> Answering<'_, Known> {
        Box::pin(async move { self.account_for(&purchase).outcome_of(&purchase).await.unwrap_or(Known::Unclear) })
    }

    fn cancel(&self, purchase: Purchase) -> Answering<'_, Known> {
        Box::pin(async move { self.account_for(&purchase).cancelled(&purchase).await.unwrap_or(Known::Unclear) })
    }

    fn refund(&self, purchase: Purchase) -> Answering<'_, Known> {
        Box::pin(async move { self.account_for(&purchase).refunded(&purchase).await.unwrap_or(Known::Unclear) })
    }

    fn turn(&self, purchase: Purchase, rank: Rank) -> Answering<'_, bool> {
        Box::pin(self.account_for(&purchase).api.pacer.turn(purchase.user, rank))
    }

    fn wait(&self, user: UserId) -> Duration {
        self.account(user, wall()).api.pacer.wait(user)
    }

    fn accounts(&self) -> Vec<AccountReport> {
        self.accounts.iter().map(|account| account.api.pacer.report(&account.name)).collect()
    }
}

impl Opened {
    fn keep(&mut self, key: Key, found: Found) {
        if self.order.len() >= MAX_OPENED
            && let Some(oldest) = self.order.pop_front()
        {
            self.intents.remove(&oldest);
        }
        if self.intents.insert(key, found).is_none() {
            self.order.push_back(key);
        }
    }
}

/// Why no intent can be made under this key, now or ever.
fn unopened(answer: &Answer, key: &str) -> Result<&'static str, NoAnswer> {
    let refusal = Refusal::of(&answer.body);
    let (status, code) = (answer.status, refusal.code.as_deref());
    // An answer that is kept for the key, and names no intent: nobody will ever know one to confirm.
    if status.is_server_error() {
        tracing::error!(key, %status, "Stripe failed to make a payment intent, for good");
        return Ok("provider_failed");
    }
    if refusal.is_amount() {
        tracing::error!(key, code, "Stripe does not take this amount: mend the product's price");
        return Ok("amount_not_accepted");
    }
    tracing::error!(key, %status, code, "Stripe refuses to make a payment intent: nothing is charged until it does");
    Err(NoAnswer)
}

/// The line to an account.
fn line(stripe: &StripeConfig, account: &AccountConfig) -> Result<Line, ConfigError> {
    let fix = "give a secret key, sk_... or rk_...; it is not shown here";
    let wrong = || field("payment.stripe.accounts", &account.name, fix);
    Line::new(origin(stripe)?, &account.key()?).ok_or_else(wrong)
}

fn origin(config: &StripeConfig) -> Result<Origin, ConfigError> {
    let wrong = || field("payment.stripe.url", &config.url, "give https://host, or http:// on a loopback address");
    let url = Url::parse(&config.url).map_err(|_| wrong())?;
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let trust = match url.scheme() {
        "https" => Some(trust(config)?),
        "http" if is_loopback => None,
        _ => return Err(wrong()),
    };
    Origin::new(&url, trust, api::MAX_ANSWER).ok_or_else(wrong)
}

fn trust(config: &StripeConfig) -> Result<Trust, ConfigError> {
    Trust::load(config.ca_file.as_deref()).map_err(|error| {
        let file = config.ca_file.as_ref().map_or_else(|| "unset".into(), |path| path.display().to_string());
        let fix = format!("name a PEM file of certificates to trust, or install those of the system ({error})");
        field("payment.stripe.ca_file", &file, &fix)
    })
}
