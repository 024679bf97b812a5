//! What all accounts of Stripe's have together: every payment of ours, and what went back of it. Reads, and changes nothing:
//! a key that may only read is enough.
//!
//! Intents are listed by the page, newest first, then refunds, which are all of an account's in one list: a refund that comes
//! meanwhile is of an intent that was seen. What others made at the account is left out as it is read, so that memory is
//! for our payments only, some 300 bytes each.
//!
//! Stripe allows 25 requests a second of one kind, and 25 of all kinds in a sandbox; gateways that sell need them more, so
//! an account is asked five times a second at most, one request after the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_protocol::types::{Millis, Timestamp};
use futures_util::future::try_join_all;
use hyper::{Method, StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::api::{Ask, Line, VERSION, Verdict, judge};
use super::line;
use super::shapes::{ListedIntent, ListedRefund, Page, Refusal};
use crate::clock::Stopwatch;
use crate::config::{AccountConfig, ConfigError, StripeConfig};
use crate::entropy::jittered;
use crate::saga::origin::Reply;
use crate::saga::pacing::rate::Rate;

/// Pages a second that an account is asked for, at most.
const PER_SECOND: u32 = 5;
/// The longest page there is.
const PAGE: &str = "100";
/// How long a page may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Times a page is asked for before it is given up.
const TRIES: u32 = 6;
/// The pause before the second try; doubles.
const FIRST_PAUSE: Millis = Millis(250);
/// The longest `Retry-After` that is believed.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Stripe's clock and the cluster's are less than this apart.
const CLOCKS: Millis = Millis(3600 * 1000);

const INTENTS: &str = "/v1/payment_intents";
const REFUNDS: &str = "/v1/refunds";

/// See the module.
pub struct Ledger {
    cluster: String,
    accounts: Vec<Account>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Our payments, whatever came of them.
    pub entries: Vec<Entry>,
    /// How many intents were not ours.
    pub left_out: u64,
}

/// A payment of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// At which account.
    pub account: Arc<str>,
    /// Stripe's name of it, `pi_...`.
    pub intent: String,
    /// The key that a gateway wrote on it.
    pub key: String,
    /// In minor units.
    pub amount: u64,
    /// In capital letters.
    pub currency: String,
    /// What became of it.
    pub state: State,
    /// How much of it was given back, in minor units.
    pub given_back: u64,
    /// How much more is about to be.
    pub pending_back: u64,
    /// When it was made, or a refund of it was asked for, whichever was later; by Stripe's clock.
    pub changed_at: Timestamp,
}

/// What became of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It took its money.
    Succeeded,
    /// It took none, and takes none by itself.
    Nothing,
    /// It may be taking it now.
    Open,
}

/// Why a ledger cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// 401.
    #[error(
        "Stripe does not know the key of account {0} (401): put a valid one where its key_file or key_env says; one that may \
         read PaymentIntents, and Charges and Refunds, is enough"
    )]
    UnknownKey(Arc<str>),
    /// 403.
    #[error(
        "the key of account {account} may not read {what} (403): allow it to read PaymentIntents, and Charges and Refunds, in \
         Stripe's dashboard"
    )]
    MayNot {
        /// Whose.
        account: Arc<str>,
        /// The list.
        what: &'static str,
    },
    /// No answer to rely on, however often it was asked.
    #[error(
        "Stripe does not answer for account {account}, asked {tries} times: {problem}; is payment.stripe.url right, and the way \
         to it open?"
    )]
    Silent {
        /// Whose.
        account: Arc<str>,
        /// How often.
        tries: u32,
        /// What came instead, the last time.
        problem: String,
    },
    /// It refuses the question for good, or answers something else.
    #[error(
        "Stripe's list of {what} for account {account} cannot be read: {problem}; this was written for version {VERSION}"
    )]
    Strange {
        /// Whose.
        account: Arc<str>,
        /// The list.
        what: &'static str,
        /// What is strange.
        problem: String,
    },
}

impl LedgerError {
    /// Whether the same may work later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Silent { .. })
    }

    /// Whether the key is to blame.
    #[must_use]
    pub const fn is_key(&self) -> bool {
        matches!(self, Self::UnknownKey(_) | Self::MayNot { .. })
    }
}

impl Ledger {
    /// Those of the configured accounts, and in them the payments of this cluster.
    ///
    /// # Errors
    /// No account, or a key or certificates that cannot be read, or used.
    pub fn new(config: &StripeConfig, cluster: &str) -> Result<Self, ConfigError> {
        config.terms()?;
        let accounts = config.accounts.iter().map(|account| Account::new(config, account)).collect::<Result<_, _>>()?;
        Ok(Self { cluster: cluster.to_owned(), accounts })
    }

    /// The names of the accounts.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        self.accounts.iter().map(|account| &*account.name)
    }

    /// Everything since then, all accounts at once; all there is without a time. Cancelled, it has changed nothing.
    ///
    /// # Errors
    /// An account that cannot be read to its end: then nothing is told of any.
    pub async fn read(&self, since: Option<Timestamp>) -> Result<Found, LedgerError> {
        let since = since.map(|since| (since.0.saturating_sub(CLOCKS.0) / 1000).to_string());
        let all =
            try_join_all(self.accounts.iter().map(|account| account.read(&self.cluster, since.as_deref()))).await?;
        Ok(all.into_iter().fold(Found::default(), |mut all, found| {
            all.entries.extend(found.entries);
            all.left_out += found.left_out;
            all
        }))
    }
}

/// One that is read.
struct Account {
    name: Arc<str>,
    line: Line,
    start: Stopwatch,
    rate: Mutex<Rate>,
}

/// An item of a list, by whose id the next page is asked for.
trait Listed: DeserializeOwned {
    const PATH: &str;
    const WHAT: &'static str;

    fn id(&self) -> &str;
}

impl Listed for ListedIntent {
    const PATH: &str = INTENTS;
    const WHAT: &'static str = "PaymentIntents";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Listed for ListedRefund {
    const PATH: &str = REFUNDS;
    const WHAT: &'static str = "refunds";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Account {
    fn new(stripe: &StripeConfig, config: &AccountConfig) -> Result<Self, ConfigError> {
        let rate = Rate::new(PER_SECOND.min(config.requests_per_second));
        let (start, line) = (Stopwatch::start(), line(stripe, config)?);
        Ok(Self { name: config.name.as_str().into(), line, start, rate: Mutex::new(rate) })
    }

    async fn read(&self, cluster: &str, since: Option<&str>) -> Result<Found, LedgerError> {
        let mut found = Found::default();
        self.list(since, |intent: ListedIntent| match Entry::of(&self.name, cluster, intent) {
            Some(entry) => found.entries.push(entry),
            None => found.left_out += 1,
        })
        .await?;
        let places = found.entries.iter().enumerate().map(|(place, entry)| (entry.intent.clone(), place));
        let places: HashMap<String, usize> = places.collect();
        self.list(since, |refund: ListedRefund| {
            if let Some(place) = refund.payment_intent.as_ref().and_then(|intent| places.get(intent)) {
                found.entries[*place].refund(&refund);
            }
        })
        .await?;
        Ok(found)
    }

    /// Hands over every item of a list that was made since then, page by page.
    async fn list<T: Listed>(&self, since: Option<&str>, mut take: impl FnMut(T)) -> Result<(), LedgerError> {
        let mut after: Option<String> = None;
        loop {
            let mut form = vec![("limit", PAGE)];
            form.extend(since.map(|since| ("created[gte]", since)));
            form.extend(after.as_deref().map(|after| ("starting_after", after)));
            let page: Page<T> = self.page::<T>(&form).await?;
            let last = page.data.last().map(|item| item.id().to_owned());
            page.data.into_iter().for_each(&mut take);
            match (page.has_more, last) {
                (false, _) => return Ok(()),
                // Where no page leads any further, asking for the next would never end.
                (true, last) if last.is_none() || last == after => {
                    return Err(self.strange::<T>("it says that there is more, and gives nothing new".to_owned()));
                }
                (true, last) => after = last,
            }
        }
    }

    /// A page, asked for until it comes.
    async fn page<T: Listed>(&self, form: &[(&str, &str)]) -> Result<Page<T>, LedgerError> {
        let ask = Ask { method: &Method::GET, path: T::PATH, key: None, form };
        let (mut pause, mut problem) = (FIRST_PAUSE, String::new());
        for tries_left in (0..TRIES).rev() {
            self.turn().await;
            let mut wanted = Duration::ZERO;
            match tokio::time::timeout(ANSWER_WITHIN, self.line.exchange(ask)).await {
                Ok(Ok(reply)) => match self.heard(&reply) {
                    Heard::Page(page) => return Ok(page),
                    Heard::Never(error) => return Err(error),
                    Heard::Again(status, after) => {
                        problem = format!("it answers {status}");
                        wanted = after.unwrap_or_default().min(LONGEST_WAIT);
                    }
                },
                Ok(Err(error)) => problem = error.to_string(),
                Err(_) => problem = format!("no answer within {} s", ANSWER_WITHIN.as_secs()),
            }
            tracing::warn!(account = &*self.name, path = T::PATH, problem, tries_left, "Stripe does not answer yet");
            if tries_left > 0 {
                tokio::time::sleep(wanted.max(Duration::from_millis(jittered(pause).0))).await;
                pause = Millis(pause.0 * 2);
            }
        }
        Err(LedgerError::Silent { account: Arc::clone(&self.name), tries: TRIES, problem })
    }

    fn heard<T: Listed>(&self, reply: &Reply) -> Heard<T> {
        let account = || Arc::clone(&self.name);
        match judge(reply) {
            Verdict::Again { status, after } => Heard::Again(status, after),
            Verdict::Forbidden(StatusCode::UNAUTHORIZED) => Heard::Never(LedgerError::UnknownKey(account())),
            Verdict::Forbidden(_) => Heard::Never(LedgerError::MayNot { account: account(), what: T::WHAT }),
            Verdict::Answer(answer) if answer.status.is_success() => match Page::deserialize(&answer.body) {
                Ok(page) => Heard::Page(page),
                Err(error) => Heard::Never(self.strange::<T>(error.to_string())),
            },
            Verdict::Answer(answer) => {
                let refusal = Refusal::of(&answer.body);
                let code = refusal.code.unwrap_or(refusal.kind);
                Heard::Never(self.strange::<T>(format!("it answers {} {code}", answer.status)))
            }
        }
    }

    fn strange<T: Listed>(&self, problem: String) -> LedgerError {
        LedgerError::Strange { account: Arc::clone(&self.name), what: T::WHAT, problem }
    }

    /// Waits until the rate allows one more request.
    async fn turn(&self) {
        loop {
            let wait = {
                let (mut rate, now) = (self.rate.lock(), self.start.elapsed());
                let wait = rate.wait(now);
                if wait.is_zero() {
                    rate.sent(now);
                    return;
                }
                wait
            };
            tokio::time::sleep(wait).await;
        }
    }
}

/// What came of asking for a page.
enum Heard<T> {
    Page(Page<T>),
    Again(StatusCode, Option<Duration>),
    Never(LedgerError),
}

impl Entry {
    /// An intent of this cluster's; one without a cluster is of a gateway from before they wrote theirs down.
    fn of(account: &Arc<str>, cluster: &str, intent: ListedIntent) -> Option<Self> {
        let key = intent.metadata.doorbuster_key?;
        if intent.metadata.doorbuster_cluster.is_some_and(|of| of != cluster) {
            return None;
        }
        let state = match intent.status.as_str() {
            "succeeded" => State::Succeeded,
            // A card was declined or none has come. Whoever confirms it is paying, which the reservation says.
            "canceled" | "requires_payment_method" | "requires_confirmation" => State::Nothing,
            _ => State::Open,
        };
        Some(Self {
            account: Arc::clone(account),
            intent: intent.id,
            key,
            amount: intent.amount,
            currency: intent.currency.to_uppercase(),
            state,
            given_back: 0,
            pending_back: 0,
            changed_at: seconds(intent.created),
        })
    }

    fn refund(&mut self, refund: &ListedRefund) {
        let sum = match refund.status.as_deref() {
            Some("succeeded") => &mut self.given_back,
            Some("failed" | "canceled") => return,
            _ => &mut self.pending_back,
        };
        *sum = sum.saturating_add(refund.amount);
        self.changed_at = self.changed_at.max(seconds(refund.created));
    }
}

fn seconds(seconds: u64) -> Timestamp {
    Timestamp(seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry(status: &str, metadata: &Value) -> Option<Entry> {
        let intent = json!({
            "id": "pi_1", "object": "payment_intent", "created": 7, "amount": 500, "currency": "eur", "status": status,
            "metadata": metadata,
        });
        Entry::of(&"main".into(), "shop", ListedIntent::deserialize(intent).unwrap())
    }

    #[test]
    fn what_others_made_is_left_out() {
        for (metadata, is_ours) in [
            (json!({ "doorbuster_key": "k", "doorbuster_cluster": "shop" }), true),
            (json!({ "doorbuster_key": "k" }), true),
            (json!({ "doorbuster_key": "k", "doorbuster_cluster": "other" }), false),
            (json!({ "doorbuster_cluster": "shop" }), false),
            (json!({ "order": "17" }), false),
            (json!({}), false),
        ] {
            assert_eq!(entry("succeeded", &metadata).is_some(), is_ours, "{metadata}");
        }
    }

    #[test]
    fn what_became_of_an_intent() {
        for (status, expected) in [
            ("succeeded", State::Succeeded),
            ("canceled", State::Nothing),
            ("requires_payment_method", State::Nothing),
            ("requires_confirmation", State::Nothing),
            ("requires_action", State::Open),
            ("processing", State::Open),
            ("requires_capture", State::Open),
            ("something new", State::Open),
        ] {
            let entry = entry(status, &json!({ "doorbuster_key": "k" })).unwrap();
            assert_eq!((entry.state, entry.changed_at, entry.currency.as_str()), (expected, Timestamp(7000), "EUR"));
        }
    }

    #[test]
    fn refunds_count_by_what_became_of_them() {
        for (refunds, expected) in [
            (vec![], (0, 0, 7000)),
            (vec![(json!("succeeded"), 200)], (200, 0, 9000)),
            (vec![(json!("succeeded"), 200), (json!("succeeded"), 300)], (500, 0, 9000)),
            (vec![(json!("pending"), 500)], (0, 500, 9000)),
            (vec![(json!("requires_action"), 500)], (0, 500, 9000)),
            (vec![(Value::Null, 500)], (0, 500, 9000)),
            (vec![(json!("failed"), 500), (json!("canceled"), 500)], (0, 0, 7000)),
            (vec![(json!("failed"), 500), (json!("succeeded"), 500)], (500, 0, 9000)),
        ] {
            let mut entry = entry("succeeded", &json!({ "doorbuster_key": "k" })).unwrap();
            for (status, amount) in &refunds {
                let refund = json!({
                    "id": "re_1", "object": "refund", "created": 9, "amount": amount, "status": status,
                    "payment_intent": "pi_1",
                });
                entry.refund(&ListedRefund::deserialize(refund).unwrap());
            }
            assert_eq!((entry.given_back, entry.pending_back, entry.changed_at.0), expected, "{refunds:?}");
        }
    }
}
