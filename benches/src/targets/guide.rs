//! The capacity guide: prose with places for what was measured, which are filled.

use super::book::Book;
use super::curves::{CURVES, Curve};
use super::page::circumstances;
use super::probes::Probe;
use super::rows::ROWS;
use super::sizing::Costs;
use doorbuster_cli::error::CliError;

/// The guide and its pictures, by their files' names.
#[derive(Debug)]
pub struct Guide {
    /// As text.
    pub text: String,
    /// As SVG.
    pub pictures: Vec<(String, String)>,
}

const NOTHING: &str = "*Not measured yet.*";

/// What is known put into this prose.
///
/// # Errors
/// A place is for nothing that there is.
pub fn filled(prose: &str, book: &Book, quick: bool) -> Result<Guide, CliError> {
    let mut parts = prose.split("{{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let unknown = || {
            CliError::usage(format!(
                "capacity.md: '{{{{{}' is no place for anything; see benches/targets/run --help",
                part.lines().next().unwrap_or_default()
            ))
        };
        let (name, rest) = part.split_once("}}").ok_or_else(unknown)?;
        text.push_str(&place(name, book, quick).ok_or_else(unknown)?);
        text.push_str(rest);
    }
    let mut pictures = Vec::new();
    for curve in CURVES.iter() {
        if let Some(picture) = curve.picture(book)? {
            pictures.push((format!("{}.svg", curve.name), picture));
        }
    }
    Ok(Guide { text, pictures })
}

fn place(name: &str, book: &Book, quick: bool) -> Option<String> {
    let costs = Costs::of(book);
    match name.split_once(' ') {
        None if name == "measured" => {
            let warning =
                if quick { "**A quick run, to see whether everything works: these are no figures.** " } else { "" };
            Some(format!("{warning}{}", circumstances(book, Probe::all()).trim()))
        }
        None if name == "costs" => Some(costs.map_or_else(|| NOTHING.to_owned(), |costs| costs.told())),
        None if name == "examples" => Some(costs.map_or_else(|| NOTHING.to_owned(), |costs| costs.examples())),
        Some(("curve", name)) => Some(curve(Curve::named(name)?, book)),
        Some(("figure", name)) => figure(name, book),
        _ => None,
    }
}

fn curve(curve: &Curve, book: &Book) -> String {
    let name = curve.name;
    let drawn = matches!(curve.picture(book), Ok(Some(_)));
    let picture = if drawn { format!("![{name}](performance/curves/{name}.svg)\n\n") } else { String::new() };
    format!("{picture}{}", curve.table(book))
}

/// A row's figure, as `row: label`.
fn figure(name: &str, book: &Book) -> Option<String> {
    let (row, label) = name.split_once(": ")?;
    let row = ROWS.iter().find(|known| known.name == row)?;
    let figure = row.figures.iter().find(|figure| figure.label == label)?;
    let samples = book.samples(figure);
    Some(samples.map_or_else(|| "(not measured)".to_owned(), |samples| figure.unit.show(samples.median)))
}

#[cfg(test)]
mod tests {
    use super::super::book::tests::book;
    use super::*;

    #[test]
    fn places_are_filled_with_what_was_measured() {
        let book = book(&[("reserve-3-nodes", &[510_000.0]), ("curve-rate-three-nodes-10000", &[10_000.0])]);
        let prose =
            "a {{figure reserve-3-nodes: rate}} b {{figure idle: p50}}\n{{curve rate}}\n{{costs}} {{measured}}\n";
        let guide = filled(prose, &book, false).expect("they are places");
        assert!(
            guide.text.starts_with("a 510,000/s b (not measured)\n![rate](performance/curves/rate.svg)\n\n| granted")
        );
        assert!(guide.text.contains("| 10,000 | 0.200 ms | 0.900 ms |\n") && guide.text.contains(NOTHING));
        assert!(guide.text.contains("Machine: 2 x Chip.") && !guide.text.contains("A quick run"), "{}", guide.text);
        assert!(filled(prose, &book, true).is_ok_and(|guide| guide.text.contains("A quick run")));
        assert_eq!(guide.pictures.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["rate.svg"]);
    }

    #[test]
    fn a_place_for_nothing_is_refused() {
        for wrong in ["{{x}}", "{{curve x}}", "{{figure idle: x}}", "{{figure x: rate}}", "{{costs", "{{}}"] {
            let error = filled(wrong, &Book::default(), false).expect_err(wrong).message;
            assert!(error.contains("is no place"), "{error}");
        }
    }

    #[test]
    fn the_guide_s_own_prose_has_no_other() {
        let prose = include_str!("../../../docs/performance/prose/capacity.md");
        let guide = filled(prose, &Book::default(), false).expect("its places are known");
        assert!(
            !guide.text.contains("{{")
                && CURVES.iter().all(|curve| prose.contains(&format!("{{{{curve {}}}}}", curve.name)))
        );
    }
}
