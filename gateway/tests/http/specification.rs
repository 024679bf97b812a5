//! `openapi.yaml` as a judge: is this an answer that the document knows?

use std::sync::LazyLock;

use serde_yaml_ng::Value;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_yaml_ng::from_str(include_str!("../../openapi.yaml")).unwrap());

/// Panics unless the document has this answer for this request. Paths it does not have must be answered 404, other
/// methods on paths it has 405.
pub fn judge(method: &str, path: &str, status: u16, code: Option<&str>) {
    let Some(item) = item(path) else {
        // The layers come before the route.
        assert!([404, 429, 431, 503].contains(&status), "{method} {path} is not in the document, and {status}");
        return;
    };
    let Some(operation) = item.get(method.to_lowercase()) else {
        assert_eq!(status, 405, "{method} {path} is not in the document");
        return;
    };
    let Some(response) = operation["responses"].get(status.to_string()) else {
        panic!("{method} {path} answered {status} {code:?}, which the document does not have");
    };
    let known = resolve(response).get("x-codes").and_then(Value::as_sequence);
    let known: Vec<&str> = known.into_iter().flatten().filter_map(Value::as_str).collect();
    match code {
        Some(code) => assert!(known.contains(&code), "{method} {path} {status}: {code} is not among {known:?}"),
        None => assert!(known.is_empty(), "{method} {path} {status} must carry a code"),
    }
}

fn item(path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap();
    let fits = |pattern: &str| {
        let (patterns, parts) = (pattern.split('/'), path.split('/'));
        patterns.clone().count() == parts.clone().count()
            && patterns
                .zip(parts)
                .all(|(pattern, part)| pattern == part || pattern.starts_with('{') && !part.is_empty())
    };
    let paths = DOCUMENT["paths"].as_mapping().unwrap();
    paths.iter().find(|(pattern, _)| fits(pattern.as_str().unwrap())).map(|(_, item)| item)
}

fn resolve(value: &'static Value) -> &'static Value {
    let Some(reference) = value.get("$ref") else { return value };
    let path = reference.as_str().unwrap().strip_prefix("#/").unwrap();
    path.split('/').fold(&*DOCUMENT, |value, part| &value[part])
}
