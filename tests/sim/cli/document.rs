//! Writes figures into a document, between the two comments that mark their place.

use std::path::Path;

/// Replaces what stands between `<!-- NAME -->` and `<!-- /NAME -->`.
///
/// # Errors
/// The document cannot be read or written, or has no such place.
pub fn replace(path: &Path, name: &str, text: &str) -> Result<(), String> {
    let shown = path.display();
    let old = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    let new = replaced(&old, name, text).ok_or_else(|| format!("{shown}: no place is marked <!-- {name} -->"))?;
    std::fs::write(path, new).map_err(|error| format!("{shown}: {error}"))
}

fn replaced(old: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let from = old.find(&begin)? + begin.len();
    let to = from + old[from..].find(&end)?;
    Some(format!("{}\n{}\n{}", &old[..from], text.trim_end(), &old[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let old = "a\n<!-- one -->\nold\n<!-- /one -->\nb\n";
        assert_eq!(replaced(old, "one", "new\n").as_deref(), Some("a\n<!-- one -->\nnew\n<!-- /one -->\nb\n"));
        assert_eq!(replaced(old, "two", "new"), None);
    }
}
