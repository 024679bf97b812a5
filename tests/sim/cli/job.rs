//! What a worker reports of a run, as one line of JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::history::{Heard, History, Operation};
use crate::sim::{Found, Outcome};

/// A promise that was broken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// The property; `panic` and `hang` for a run that did not come to an end.
    pub property: String,
    /// What is wrong.
    pub what: String,
    /// When, in virtual seconds.
    pub at: String,
    /// The operations involved.
    pub operations: Vec<String>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Hash over everything that happened.
    pub trace_hash: u64,
    /// Virtual milliseconds.
    pub lasted_ms: u64,
    /// What happened how often.
    pub counters: BTreeMap<String, u64>,
    /// Marks that were reached.
    pub marks: BTreeSet<String>,
    /// Whether and how a promise was broken.
    pub broken: Option<Broken>,
}

impl Report {
    /// Of a run.
    pub fn of(outcome: &Outcome) -> Self {
        let mut counters: BTreeMap<String, u64> =
            outcome.counters.iter().map(|(name, count)| (name.to_owned(), count)).collect();
        for (name, count) in heard(&outcome.history) {
            counters.insert(name.to_owned(), count);
        }
        Self {
            trace_hash: outcome.trace_hash,
            lasted_ms: outcome.lasted.0 / 1_000_000,
            counters,
            marks: outcome.marks.iter().map(str::to_owned).collect(),
            broken: outcome.found.as_ref().map(|found| broken(found, &outcome.history)),
        }
    }

    /// Of a run that did not come to an end.
    pub fn ended(property: &str, what: String) -> Self {
        let broken = Broken { property: property.to_owned(), what, ..Broken::default() };
        Self { broken: Some(broken), ..Self::default() }
    }

    /// As a line.
    pub fn write(&self) -> String {
        let broken = self.broken.as_ref().map(|broken| {
            json!({
                "property": broken.property,
                "what": broken.what,
                "at": broken.at,
                "operations": broken.operations,
            })
        });
        json!({
            "trace_hash": self.trace_hash,
            "lasted_ms": self.lasted_ms,
            "counters": self.counters,
            "marks": self.marks,
            "broken": broken,
        })
        .to_string()
    }

    /// From a line.
    ///
    /// # Errors
    /// It is no report.
    pub fn read(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        let number = |name: &str| value[name].as_u64().ok_or_else(|| format!("no {name} in {line}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
        let counters = value["counters"].as_object().into_iter().flatten();
        let broken = &value["broken"];
        Ok(Self {
            trace_hash: number("trace_hash")?,
            lasted_ms: number("lasted_ms")?,
            counters: counters.map(|(name, count)| (name.clone(), count.as_u64().unwrap_or(0))).collect(),
            marks: list(&value["marks"]).into_iter().collect(),
            broken: broken.is_object().then(|| Broken {
                property: text(&broken["property"]),
                what: text(&broken["what"]),
                at: text(&broken["at"]),
                operations: list(&broken["operations"]),
            }),
        })
    }
}

/// Operations by what came of them, the order writer's not counted.
fn heard(history: &History) -> [(&'static str, u64); 4] {
    use doorbuster_protocol::command::Command;
    use doorbuster_protocol::query::Query;
    use doorbuster_protocol::request::RequestBody;

    let mut counts = [0; 4];
    for Operation { body, heard, .. } in &history.operations {
        let is_writers = matches!(
            body,
            RequestBody::Query(Query::Feed { .. }) | RequestBody::Command(Command::AcknowledgeFeed { .. })
        );
        let at = match heard {
            _ if is_writers => continue,
            Heard::Reply(_) => 0,
            Heard::Refused(_) => 1,
            Heard::NotDone(_) => 2,
            Heard::Unknown => 3,
        };
        counts[at] += 1;
    }
    [
        ("operations_ok", counts[0]),
        ("operations_refused", counts[1]),
        ("operations_not_done", counts[2]),
        ("operations_unknown", counts[3]),
    ]
}

fn broken(found: &Found, history: &History) -> Broken {
    let operation = |place: &usize| match history.operations.get(*place) {
        Some(Operation { client, called, returned, body, heard }) => {
            let seconds = |nanos: u64| format!("{}.{:06}", nanos / 1_000_000_000, nanos % 1_000_000_000 / 1_000);
            let returned = returned.map_or_else(|| "never".to_owned(), |moment| seconds(moment.0));
            format!("#{place} client {client}, {} to {returned}: {body:?} -> {heard:?}", seconds(called.0))
        }
        None => format!("#{place}"),
    };
    Broken {
        property: found.violation.property.to_owned(),
        what: found.violation.what.clone(),
        at: format!("{}.{:03}", found.at.0 / 1_000_000_000, found.at.0 % 1_000_000_000 / 1_000_000),
        operations: found.violation.operations.iter().map(operation).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let broken = Broken {
            property: "conservation".to_owned(),
            what: "3 = 2 + 2".to_owned(),
            at: "1.500".to_owned(),
            operations: vec!["#1".to_owned()],
        };
        let report = Report {
            trace_hash: u64::MAX,
            lasted_ms: 5,
            counters: [("crashes".to_owned(), 3)].into(),
            marks: ["granted".to_owned()].into(),
            broken: Some(broken),
        };
        assert_eq!(Report::read(&report.write()), Ok(report));
        assert!(Report::read("no report").is_err());
    }
}
