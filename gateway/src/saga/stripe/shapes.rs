//! What Stripe's answers mean: pure, and so tables can show it. Fields that are not needed are not looked at, so that what
//! Stripe adds changes nothing.

use serde::Deserialize;
use serde_json::Value;

use crate::saga::provider::Known;

/// Reasons that buyers are told as they are; any other (a stolen card among them) is `card_declined`.
const REASONS: [&str; 12] = [
    "authentication_required",
    "card_not_supported",
    "card_velocity_exceeded",
    "currency_not_supported",
    "expired_card",
    "incorrect_cvc",
    "incorrect_number",
    "incorrect_zip",
    "insufficient_funds",
    "invalid_expiry_month",
    "invalid_expiry_year",
    "processing_error",
];

/// A PaymentIntent.
#[derive(Clone, Debug, Deserialize)]
pub struct Intent {
    /// `pi_...`.
    pub id: String,
    /// When it was made, by Stripe's clock; UTC seconds.
    pub created: u64,
    amount: u64,
    /// Where it stands.
    pub status: String,
    last_payment_error: Option<Refusal>,
    /// An id, unless the request asked for all of it.
    latest_charge: Option<Value>,
}

/// The `error` of an answer, or the last one of an intent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// Kind, such as `card_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What exactly.
    pub code: Option<String>,
    decline_code: Option<String>,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub struct List<T> {
    /// The page.
    pub data: Vec<T>,
}

/// A page of a list that is read to its end.
#[derive(Debug, Deserialize)]
pub struct Page<T> {
    /// Newest first.
    pub data: Vec<T>,
    /// Whether there are more behind it.
    pub has_more: bool,
}

/// An intent among others.
#[derive(Debug, Deserialize)]
pub struct ListedIntent {
    /// `pi_...`.
    pub id: String,
    /// When it was made, by Stripe's clock; UTC seconds.
    pub created: u64,
    /// In minor units.
    pub amount: u64,
    /// In small letters.
    pub currency: String,
    /// Where it stands.
    pub status: String,
    /// What we wrote on it, if it is ours.
    pub metadata: Metadata,
}

/// What is written on an intent.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// Its key, on each that a gateway made.
    pub doorbuster_key: Option<String>,
    /// Which cluster's gateway.
    pub doorbuster_cluster: Option<String>,
}

/// A refund among others.
#[derive(Debug, Deserialize)]
pub struct ListedRefund {
    /// `re_...`.
    pub id: String,
    /// When it was asked for, by Stripe's clock; UTC seconds.
    pub created: u64,
    /// In minor units.
    pub amount: u64,
    /// Where it stands.
    pub status: Option<String>,
    /// Of which intent; nothing if it is of a charge that none made.
    pub payment_intent: Option<String>,
}

/// A refund.
#[derive(Debug, Deserialize)]
pub struct Refund {
    amount: u64,
    /// Where it stands.
    pub status: String,
}

/// What an intent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All there is to know.
    Known(Known),
    /// Some of what it took was given back, or is about to be: its refunds say how much.
    Refunds,
}

/// What an intent's refunds say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Everything was given back.
    All,
    /// Some is on its way.
    Pending,
    /// Something is left to give back; so many refunds have failed so far.
    Left(usize),
}

impl Intent {
    /// Where it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let reason = self.last_payment_error.as_ref().map(Refusal::reason);
        Standing::Known(match self.status.as_str() {
            "succeeded" if self.amount_refunded() > 0 => return Standing::Refunds,
            "succeeded" => Known::Succeeded,
            "processing" => Known::InProgress,
            "canceled" => Known::Declined(reason.unwrap_or("cancelled")),
            // Nobody will authenticate a payment that waits for its buyer (`requires_action`): it is closed.
            "requires_payment_method" | "requires_confirmation" | "requires_action" => {
                reason.map_or(Known::NotFound, Known::Declined)
            }
            _ => Known::Unclear,
        })
    }

    fn amount_refunded(&self) -> u64 {
        let charge = self.latest_charge.as_ref();
        charge.and_then(|charge| charge.get("amount_refunded")).and_then(Value::as_u64).unwrap_or(0)
    }

    /// What its refunds have given back.
    #[must_use]
    pub fn given(&self, refunds: &[Refund]) -> Given {
        let of = |status: &[&str]| {
            let amounts =
                refunds.iter().filter(|refund| status.contains(&refund.status.as_str())).map(|refund| refund.amount);
            amounts.fold(0_u64, u64::saturating_add)
        };
        let failed = refunds.iter().filter(|refund| ["failed", "canceled"].contains(&refund.status.as_str())).count();
        match (of(&["succeeded"]), of(&["pending", "requires_action"])) {
            (given, _) if given >= self.amount => Given::All,
            (given, pending) if given.saturating_add(pending) >= self.amount => Given::Pending,
            _ => Given::Left(failed),
        }
    }

    /// The one that counts of several under the same key: one that took money or may yet, else the first.
    #[must_use]
    pub fn that_counts(intents: Vec<Self>) -> Option<Self> {
        let money = |intent: &Self| matches!(intent.status.as_str(), "succeeded" | "processing" | "requires_capture");
        intents.into_iter().min_by_key(|intent| (!money(intent), intent.created, intent.id.clone()))
    }
}

impl Refusal {
    /// The `error` of an answer; an empty one if it has none.
    #[must_use]
    pub fn of(body: &Value) -> Self {
        body.get("error").and_then(|error| Self::deserialize(error).ok()).unwrap_or_default()
    }

    /// What a buyer is told.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        let told = [self.decline_code.as_deref(), self.code.as_deref()];
        let known = |told: &str| REASONS.into_iter().find(|reason| *reason == told);
        told.into_iter().flatten().find_map(known).unwrap_or("card_declined")
    }

    /// Whether the same idempotency key came with other parameters before.
    #[must_use]
    pub fn is_other_request(&self) -> bool {
        self.kind == "idempotency_error"
    }

    /// Whether the amount can never be charged.
    #[must_use]
    pub fn is_amount(&self) -> bool {
        matches!(self.code.as_deref(), Some("amount_too_small" | "amount_too_large"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn intent(more: &Value) -> Intent {
        let mut all =
            json!({ "id": "pi_1", "object": "payment_intent", "created": 7, "amount": 500, "status": "succeeded" });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Intent::deserialize(all).unwrap()
    }

    #[test]
    fn where_an_intent_stands() {
        let declined = json!({ "type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds" });
        for (more, expected) in [
            (json!({ "latest_charge": "ch_1" }), Known::Succeeded),
            (json!({ "latest_charge": { "id": "ch_1", "amount_refunded": 0 } }), Known::Succeeded),
            (json!({ "status": "processing" }), Known::InProgress),
            (json!({ "status": "canceled" }), Known::Declined("cancelled")),
            (json!({ "status": "canceled", "last_payment_error": declined }), Known::Declined("insufficient_funds")),
            (json!({ "status": "requires_payment_method" }), Known::NotFound),
            (json!({ "status": "requires_payment_method", "last_payment_error": null }), Known::NotFound),
            (
                json!({ "status": "requires_payment_method", "last_payment_error": declined }),
                Known::Declined("insufficient_funds"),
            ),
            (json!({ "status": "requires_confirmation" }), Known::NotFound),
            (json!({ "status": "requires_action", "next_action": {} }), Known::NotFound),
            (json!({ "status": "requires_capture" }), Known::Unclear),
            (json!({ "status": "something new" }), Known::Unclear),
        ] {
            assert_eq!(intent(&more).standing(), Standing::Known(expected), "{more}");
        }
        let given = json!({ "latest_charge": { "id": "ch_1", "amount_refunded": 1 } });
        assert_eq!(intent(&given).standing(), Standing::Refunds);
    }

    #[test]
    fn only_a_refund_that_succeeded_gives_anything_back() {
        for (refunds, expected) in [
            (vec![], Given::Left(0)),
            (vec![("succeeded", 500)], Given::All),
            (vec![("succeeded", 200), ("succeeded", 300)], Given::All),
            (vec![("succeeded", 200)], Given::Left(0)),
            (vec![("pending", 500)], Given::Pending),
            (vec![("requires_action", 500)], Given::Pending),
            (vec![("failed", 500)], Given::Left(1)),
            (vec![("failed", 500), ("canceled", 500)], Given::Left(2)),
            (vec![("failed", 500), ("succeeded", 500)], Given::All),
        ] {
            let refunds: Vec<Refund> =
                refunds.iter().map(|(status, amount)| Refund { amount: *amount, status: (*status).into() }).collect();
            assert_eq!(intent(&json!({})).given(&refunds), expected, "{refunds:?}");
        }
    }

    #[test]
    fn of_two_intents_the_one_with_the_money_counts() {
        let of = |id: &str, created, status: &str| intent(&json!({ "id": id, "created": created, "status": status }));
        let (new, old) = (of("new", 9, "requires_payment_method"), of("old", 3, "canceled"));
        let paid = of("paid", 5, "succeeded");
        let counts = |list: &[&Intent]| Intent::that_counts(list.iter().copied().cloned().collect()).map(|one| one.id);
        assert_eq!(counts(&[]), None);
        assert_eq!(counts(&[&new, &old]).as_deref(), Some("old"));
        assert_eq!(counts(&[&new, &old, &paid]).as_deref(), Some("paid"));
    }

    #[test]
    fn buyers_are_told_what_helps_them() {
        for (error, expected) in [
            (json!({ "code": "card_declined", "decline_code": "insufficient_funds" }), "insufficient_funds"),
            (json!({ "code": "card_declined", "decline_code": "stolen_card" }), "card_declined"),
            (json!({ "code": "expired_card" }), "expired_card"),
            (json!({ "code": "incorrect_cvc", "decline_code": "something new" }), "incorrect_cvc"),
            (json!({}), "card_declined"),
        ] {
            assert_eq!(Refusal::of(&json!({ "error": error })).reason(), expected, "{error}");
        }
        assert_eq!(Refusal::of(&json!("no object")).kind, "");
    }
}
