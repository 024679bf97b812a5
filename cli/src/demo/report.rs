//! The outcome of the demo: a table and a plain sentence for people, a JSON document for programs.

use super::disturbance::GatewayKill;
use super::plan::Plan;
use super::stats::Percentiles;
use super::verdict::{Evidence, Verdict};
use crate::audit::judgement::{KINDS, Kind};
use crate::audit::orders::Orders;
use crate::audit::payments::Payments;
use crate::output::facts;
use doorbuster_payment_simulator::routes::Happened;
use serde_json::{Map, Value, json};

/// The document that `--json FILE` writes. Latencies are µs from the moment an attempt was meant to be sent.
#[must_use]
pub fn json(plan: &Plan, evidence: &Evidence, verdict: &Verdict) -> Value {
    let totals = &evidence.totals;
    let orders = evidence.audit.orders.clone().unwrap_or_default();
    let mut document = json!({
        "ok": verdict.holds(),
        "problems": verdict.problems,
        "units": plan.units,
        "buyers": plan.buyers,
        "seed": plan.seed,
        "attempts": totals.attempts,
        "granted": totals.granted,
        "confirmed": verdict.confirmed,
        "oversold": verdict.oversold,
        "lost_acknowledged": verdict.lost_acknowledged,
        "unacknowledged": verdict.unacknowledged,
        "orders_in_database": orders.orders,
        "duplicate_orders": orders.duplicates,
        "missing_orders": orders.missing,
        "refusals": totals.refusals,
        "events": totals.counts,
        "seconds": evidence.took.as_secs_f64(),
        "attempts_per_second": attempts_per_second(evidence),
        "latency_us": { "granted": percentiles(&totals.granted_us), "refused": percentiles(&totals.refused_us) },
        "payments": payments_json(&evidence.happened),
        "leader_killed": evidence.kill.is_some(),
        "gateways_killed": evidence.gateways.len(),
        "gateway_kills": evidence.gateways.iter().map(gateway_json).collect::<Vec<_>>(),
        "longest_wait_ms": totals.longest.as_secs_f64() * 1000.0,
        "state_hashes_equal": evidence.audit.replicas.hashes_equal(),
        "audit": evidence.audit.json(),
    });
    for kind in KINDS {
        document[kind.name()] = count(evidence, kind).into();
    }
    if let (Some(kill), Value::Object(fields)) = (&evidence.kill, &mut document) {
        fields.insert("kill".to_owned(), Value::Object(kill_json(kill)));
    }
    document
}

/// How many payments differ in this way; nobody knows of any that were not compared.
fn count(evidence: &Evidence, kind: Kind) -> Option<usize> {
    evidence.audit.payments.as_ref().map(|payments| payments.count(kind))
}

/// What the provider did, right and wrong.
fn payments_json(happened: &Happened) -> Value {
    let Happened { counts, waiting } = happened;
    json!({
        "charges": counts.charges,
        "declined": counts.declined,
        "unknown": counts.lost_requests + counts.lost_answers,
        "late": counts.late,
        "cancelled": counts.cancelled,
        "refunded": counts.refunded,
        "webhooks": {
            "events": counts.webhooks.events,
            "delivered": counts.webhooks.delivered,
            "duplicates": counts.webhooks.repeated,
            "held_back": counts.webhooks.held_back,
            "not_taken": counts.webhooks.failed,
            "waiting": waiting,
        },
    })
}

fn gateway_json(kill: &GatewayKill) -> Value {
    json!({ "after_sold": kill.sold, "payments_under_way": kill.paying, "down_ms": kill.down.0 })
}

fn kill_json(kill: &super::disturbance::Kill) -> Map<String, Value> {
    Map::from_iter([
        ("node".to_owned(), json!(kill.node.0)),
        ("after_attempts".to_owned(), json!(kill.after_attempts)),
        ("successor".to_owned(), json!(kill.successor.0)),
        ("leaderless_ms".to_owned(), json!(kill.leaderless.0)),
    ])
}

fn percentiles(points: &Percentiles) -> Value {
    json!({ "p50": points.p50, "p99": points.p99, "p999": points.p999, "max": points.max })
}

#[allow(clippy::cast_precision_loss)] // shown, not counted with
fn attempts_per_second(evidence: &Evidence) -> f64 {
    let seconds = evidence.took.as_secs_f64();
    if seconds > 0.0 { (evidence.totals.attempts as f64 / seconds).round() } else { 0.0 }
}

/// The table for people.
#[must_use]
pub fn table(plan: &Plan, evidence: &Evidence, verdict: &Verdict) -> String {
    let totals = &evidence.totals;
    let refused: Vec<String> =
        totals.refusals.iter().map(|(code, count)| format!("{} {code}", grouped(*count))).collect();
    let events: Vec<String> =
        totals.counts.iter().map(|(what, count)| format!("{} {}", grouped(*count), what.replace('_', " "))).collect();
    let orders = evidence.audit.orders.as_ref().map_or_else(|| "not compared".to_owned(), Orders::sentence);
    let hashes = if evidence.audit.replicas.hashes_equal() {
        "equal at equal log index, every shard"
    } else {
        "NOT SHOWN EQUAL"
    };
    let rows = [
        ("buyers", grouped(plan.buyers)),
        (
            "attempts",
            format!(
                "{} answered in {:.1} s, {:.0} a second",
                grouped(totals.attempts),
                evidence.took.as_secs_f64(),
                attempts_per_second(evidence)
            ),
        ),
        (
            "sold",
            format!(
                "{} of {} units, {} oversold",
                grouped(verdict.confirmed),
                grouped(plan.units.into()),
                verdict.oversold
            ),
        ),
        ("reservations made", grouped(totals.granted)),
        ("refused", refused.join("\n")),
        ("on the way", events.join("\n")),
        ("answer, granted", latency_text(&totals.granted_us)),
        ("answer, refused", latency_text(&totals.refused_us)),
        ("longest wait", format!("{:.0} ms", totals.longest.as_secs_f64() * 1000.0)),
        ("payments", payments_text(&evidence.happened)),
        ("webhooks", webhooks_text(&evidence.happened)),
        ("leader", leader_text(evidence)),
        ("gateway", gateways_text(&evidence.gateways)),
        ("acknowledged and lost", verdict.lost_acknowledged.to_string()),
        ("orders", orders),
        ("money", money_text(evidence.audit.payments.as_ref())),
        ("replicas", hashes.to_owned()),
    ];
    let mut out = facts();
    for (name, value) in rows {
        out.add_row([name, value.as_str()]);
    }
    out.to_string()
}

fn payments_text(happened: &Happened) -> String {
    let counts = happened.counts;
    let unknown = counts.lost_requests + counts.lost_answers;
    [
        (counts.charges, "charges asked for"),
        (counts.declined, "declined"),
        (unknown, "requests without an answer at first"),
        (counts.late, "charged, and told when the reservation was gone"),
        (counts.cancelled, "closed before a charge came"),
        (counts.refunded, "refunded"),
    ]
    .map(|(count, what)| format!("{} {what}", grouped(count)))
    .join("\n")
}

fn webhooks_text(happened: &Happened) -> String {
    let (told, waiting) = (happened.counts.webhooks, u64::try_from(happened.waiting).unwrap_or(0));
    let [events, delivered, repeated, held_back, failed, waiting] =
        [told.events, told.delivered, told.repeated, told.held_back, told.failed, waiting].map(grouped);
    format!(
        "{events} events, {delivered} deliveries taken, {repeated} of them duplicates\n{held_back} events held back, \
         {failed} deliveries failed, {waiting} events not taken yet"
    )
}

fn leader_text(evidence: &Evidence) -> String {
    let Some(kill) = &evidence.kill else { return "not killed".to_owned() };
    let (node, successor, after, without) = (kill.node, kill.successor, grouped(kill.after_attempts), kill.leaderless);
    format!("node {node} killed with -9 after {after} attempts; node {successor} led {without} ms later")
}

fn gateways_text(kills: &[GatewayKill]) -> String {
    let text = |kill: &GatewayKill| {
        let (sold, paying, down) = (grouped(kill.sold.into()), grouped(kill.paying), kill.down);
        format!("killed with -9 at {sold} units sold, {paying} payments under way; back {down} ms later")
    };
    if kills.is_empty() { "not killed".to_owned() } else { kills.iter().map(text).collect::<Vec<_>>().join("\n") }
}

/// Against the provider's own ledger.
fn money_text(payments: Option<&Payments>) -> String {
    let Some(payments) = payments else { return "not compared".to_owned() };
    let differences = KINDS.map(|kind| format!("{} {}", payments.count(kind), kind.name().replace('_', " ")));
    let [compared, charged, refunded] = [payments.compared, payments.charged, payments.refunded].map(grouped);
    format!(
        "{compared} reservations compared with the provider's ledger: {charged} charged, {refunded} refunded\n{}",
        differences.join("\n")
    )
}

fn latency_text(points: &Percentiles) -> String {
    let ms = |us: u64| format!("{}.{:02} ms", us / 1000, us % 1000 / 10);
    format!("p50 {}, p99 {}, p99.9 {}", ms(points.p50), ms(points.p99), ms(points.p999))
}

/// The plain sentence at the end.
#[must_use]
pub fn sentence(plan: &Plan, evidence: &Evidence, verdict: &Verdict) -> String {
    if !verdict.holds() {
        return format!("The sale does NOT hold: {} found wrong.", verdict.problems.len());
    }
    let killed = if evidence.kill.is_some() {
        ", with the leading server killed in the middle and the gateway twice while they paid"
    } else {
        ""
    };
    format!(
        "{} buyers wanted {} units{killed}: exactly {} were sold, each exactly once and paid for exactly once, nobody paid for \
         nothing, and every result that was acknowledged survived.",
        grouped(plan.buyers),
        grouped(plan.units.into()),
        grouped(verdict.confirmed),
    )
}

/// A number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
