//! The outcome of the demo: a table and a plain sentence for people, a JSON document for programs.

use super::plan::Plan;
use super::stats::Percentiles;
use super::verdict::{Evidence, Verdict};
use crate::audit::orders::Orders;
use crate::output::facts;
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
        "leader_killed": evidence.kill.is_some(),
        "longest_wait_ms": totals.longest.as_secs_f64() * 1000.0,
        "state_hashes_equal": evidence.audit.replicas.hashes_equal(),
        "audit": evidence.audit.json(),
    });
    if let (Some(kill), Value::Object(fields)) = (&evidence.kill, &mut document) {
        fields.insert("kill".to_owned(), Value::Object(kill_json(kill)));
    }
    document
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
    let kill = evidence.kill.as_ref().map_or_else(
        || "not killed".to_owned(),
        |kill| {
            let (after, without) = (grouped(kill.after_attempts), kill.leaderless);
            format!(
                "node {} killed with -9 after {after} attempts; node {} led {without} ms later",
                kill.node, kill.successor
            )
        },
    );
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
        ("leader", kill),
        ("acknowledged and lost", verdict.lost_acknowledged.to_string()),
        ("orders", orders),
        ("replicas", hashes.to_owned()),
    ];
    let mut out = facts();
    for (name, value) in rows {
        out.add_row([name, value.as_str()]);
    }
    out.to_string()
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
    let killed = if evidence.kill.is_some() { ", with the leading server killed in the middle" } else { "" };
    format!(
        "{} buyers wanted {} units{killed}: exactly {} were sold, each exactly once, and every result that was acknowledged survived.",
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
