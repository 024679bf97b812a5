//! What the command line says about a server's or gateway's configuration, laid over its TOML file and
//! environment: flags for what is set most, `--set FIELD=VALUE` for everything else.

use crate::error::CliError;
use toml::{Table, Value};

/// Fields the command line sets; those it leaves out are not in it.
#[derive(Debug, Default)]
pub struct Overlay(Table);

impl Overlay {
    /// Sets a field, if there is a value.
    pub fn set(&mut self, field: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(field.to_owned(), value.into());
        }
    }

    /// Adds `FIELD=VALUE` assignments, the value as TOML writes it or a bare word.
    pub fn assign(&mut self, assignments: &[String]) -> Result<(), CliError> {
        for assignment in assignments {
            let wrong = || {
                CliError::usage(format!(
                    "--set {assignment}: wanted FIELD=VALUE, as in --set limits.address_per_second=100"
                ))
            };
            let (field, value) = assignment.split_once('=').ok_or_else(wrong)?;
            let parsed = format!("{field} = {value}").parse::<Table>();
            let table = parsed.or_else(|_| format!("{field} = {}", Value::from(value)).parse()).map_err(|_| wrong())?;
            merge(&mut self.0, table);
        }
        Ok(())
    }

    /// The fields, to be laid over the configuration.
    #[must_use]
    pub fn into_table(self) -> Table {
        self.0
    }
}

fn merge(into: &mut Table, from: Table) {
    for (field, value) in from {
        match (into.get_mut(&field), value) {
            (Some(Value::Table(inner)), Value::Table(outer)) => merge(inner, outer),
            (_, value) => {
                into.insert(field, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_take_toml_values_and_bare_words_and_nest() {
        let mut overlay = Overlay::default();
        overlay.set("listen", Some("127.0.0.1:1"));
        overlay.set("node", None::<i64>);
        let words = ["limits.a=1", "limits.b=true", "name=node one", "nodes=['x:1', 'y:2']", "listen=127.0.0.1:2"];
        overlay.assign(&words.map(str::to_owned)).expect("all are assignments");
        let expected = "listen = '127.0.0.1:2'\nname = 'node one'\nnodes = ['x:1', 'y:2']\n[limits]\na = 1\nb = true\n";
        assert_eq!(overlay.into_table(), expected.parse::<Table>().expect("this is TOML"));
    }

    #[test]
    fn what_assigns_nothing_is_refused() {
        for word in ["novalue", "=1", "a b=1"] {
            assert!(Overlay::default().assign(&[word.to_owned()]).is_err(), "{word}");
        }
    }
}
