//! The counts of a reconciliation as a file that a Prometheus node exporter's textfile collector reads. Whoever reads it sees
//! the counts of one audit or of the one before, never half of each; its time tells that audits still run.

use super::judgement::KINDS;
use super::payments::Payments;
use crate::clock;
use crate::error::CliError;
use std::fmt::Write as _;
use std::path::Path;

/// Replaces `file`.
pub fn write(file: &Path, found: &Payments) -> Result<(), CliError> {
    let wrong = |error: std::io::Error| {
        CliError::failed(format!(
            "--metrics-file {}: {error}; name a file in a folder that may be written",
            file.display()
        ))
    };
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, text(found, clock::wall().0)).map_err(wrong)?;
    std::fs::rename(&new, file).map_err(wrong)
}

fn text(found: &Payments, now_ms: u64) -> String {
    let mut text = String::from(
        "# HELP doorbuster_audit_payment_differences Payments that do not fit together, by kind.\n\
         # TYPE doorbuster_audit_payment_differences gauge\n",
    );
    for kind in KINDS {
        // Writing to a string does not fail.
        let _ =
            writeln!(text, "doorbuster_audit_payment_differences{{kind=\"{}\"}} {}", kind.name(), found.count(kind));
    }
    let _ = write!(
        text,
        "# HELP doorbuster_audit_payments_in_motion Payments that were not judged, because they were under way.\n\
         # TYPE doorbuster_audit_payments_in_motion gauge\n\
         doorbuster_audit_payments_in_motion {}\n\
         # HELP doorbuster_audit_payments_time_seconds When the payments were compared.\n\
         # TYPE doorbuster_audit_payments_time_seconds gauge\n\
         doorbuster_audit_payments_time_seconds {}\n",
        found.in_motion,
        now_ms / 1000
    );
    text
}

#[cfg(test)]
mod tests {
    use super::super::judgement::Kind;
    use super::super::payments::Difference;
    use super::*;

    #[test]
    fn every_kind_is_told_and_the_file_is_replaced_whole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("payments.prom");
        let difference = Difference { kind: Kind::DoubleCharge, name: "7-1".to_owned(), words: "x".to_owned() };
        for differences in [vec![difference], vec![]] {
            let count = differences.len();
            write(&file, &Payments { differences, ..Payments::default() }).expect("the folder takes a file");
            let text = std::fs::read_to_string(&file).expect("it was written");
            for kind in KINDS {
                let expected = if kind == Kind::DoubleCharge { count } else { 0 };
                assert!(text.contains(&format!("{{kind=\"{}\"}} {expected}\n", kind.name())), "{text}");
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 1, "nothing else is left");
        assert!(write(&folder.path().join("none/x"), &Payments::default()).is_err());
    }
}
