//! What the comparison says.

use super::round::{WAYS, Way};
use crate::targets::samples::Samples;
use doorbuster_cli::bench::machine;
use doorbuster_cli::output::{grouped, table};
use serde_json::{Value, json};

/// What was measured.
#[derive(Clone, Debug)]
pub struct Told {
    /// In a round.
    pub orders: u32,
    /// The database's version.
    pub postgres: String,
    /// Rows a second of each way, by round.
    pub rounds: Vec<[f64; 4]>,
}

impl Told {
    fn rates(&self, way: Way) -> impl Iterator<Item = f64> {
        let at = WAYS.iter().position(|other| *other == way).unwrap_or(0);
        self.rounds.iter().map(move |rates| rates[at])
    }

    /// The median, over rounds, of one way's rate divided by the other's.
    fn ratio(&self, one: Way, other: Way) -> f64 {
        let ratios = self.rates(one).zip(self.rates(other)).map(|(one, other)| one / other.max(f64::MIN_POSITIVE));
        Samples::of(ratios).map_or(0.0, |ratios| (ratios.median * 1000.0).round() / 1000.0)
    }

    /// For people.
    #[must_use]
    pub fn people(&self) -> String {
        let mut rows = table(["way", "orders/s", "of bare batches"]);
        for way in WAYS {
            let rate = Samples::of(self.rates(way)).map_or(0.0, |rates| rates.median);
            let part = format!("{:.0}%", self.ratio(way, Way::Bare) * 100.0);
            rows.add_row([way.to_string(), grouped(rate), part]);
        }
        let (orders, rounds) = (grouped(f64::from(self.orders)), self.rounds.len());
        format!(
            "{rows}\nMedians of {rounds} rounds of {orders} orders, in turn. PostgreSQL {}. {}",
            self.postgres,
            machine()
        )
    }

    /// For programs.
    #[must_use]
    pub fn programs(&self) -> Value {
        let of = |way| {
            let rounds: Vec<f64> = self.rates(way).map(f64::round).collect();
            json!({ "orders_per_second": Samples::of(rounds.iter().copied()).map(|rates| rates.median), "rounds": rounds })
        };
        let ways = WAYS.map(|way| (way.to_string(), of(way)));
        json!({
            "orders": self.orders, "postgres": self.postgres, "machine": machine(),
            "ways": Value::Object(ways.into_iter().collect()),
            "ratio_to_bare": self.ratio(Way::Writer, Way::Bare),
            "ratio_from_memory_to_bare": self.ratio(Way::Remembered, Way::Bare),
            "ratio_to_bare_orders": self.ratio(Way::Writer, Way::BareOrders),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_medians_of_rounds() {
        // In the order of the ways: writer, bare, from memory, orders alone.
        let rounds = vec![[80.0, 100.0, 90.0, 160.0], [10.0, 100.0, 95.0, 160.0], [170.0, 200.0, 190.0, 200.0]];
        let told = Told { orders: 1000, postgres: "15".to_owned(), rounds };
        let json = told.programs();
        assert_eq!(json["ratio_to_bare"], 0.8);
        assert_eq!(json["ratio_from_memory_to_bare"], 0.95);
        assert_eq!(json["ratio_to_bare_orders"], 0.5);
        assert_eq!(json["ways"]["bare"], json!({ "orders_per_second": 100.0, "rounds": [100.0, 100.0, 200.0] }));
        let shown = told.people();
        assert!(shown.contains("writer-from-memory") && shown.contains("80%"), "{shown}");
    }
}
