//! The table against itself, and against `openapi.yaml`.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml_ng::Value;

use super::*;

/// Statuses of an operation, and for each the codes of its problems.
type Answers = BTreeMap<u16, BTreeSet<String>>;

#[test]
fn paths_find_their_routes() {
    for (method, path, expected) in [
        ("GET", "/v1/products", Ok("/v1/products")),
        ("GET", "/v1/products/7", Ok("/v1/products/{product}")),
        ("POST", "/v1/reservations", Ok("/v1/reservations")),
        ("GET", "/v1/reservations/7-00", Ok("/v1/reservations/{id}")),
        ("POST", "/v1/reservations/7-00/extend", Ok("/v1/reservations/{id}/extend")),
        ("POST", "/v1/admin/products/7/close", Ok("/v1/admin/products/{product}/close")),
        ("POST", "/v1/reservations/7-00/cancel", Ok("/v1/reservations/{id}/cancel")),
        ("POST", "/v1/admin/reservations/7-00/cancel", Ok("/v1/admin/reservations/{id}/cancel")),
        ("POST", "/v1/webhooks/simulator", Ok("/v1/webhooks/{provider}")),
        ("GET", "/v1/webhooks/simulator", Err("method_not_allowed")),
        ("POST", "/v1/webhooks/", Err("not_found")),
        ("GET", "/livez", Ok("/livez")),
        ("GET", "/", Err("not_found")),
        ("GET", "", Err("not_found")),
        ("GET", "/v1/products/", Err("not_found")),
        ("GET", "/v1/products/7/8", Err("not_found")),
        ("GET", "//livez", Err("not_found")),
        ("GET", "/v1/reservations/7-00/payment/x", Err("not_found")),
        ("PUT", "/v1/reservations", Err("method_not_allowed")),
        ("POST", "/v1/reservations/7-00", Err("method_not_allowed")),
    ] {
        let found = find(&method.parse().unwrap(), path);
        let found = found.map(|index| TABLE[index].path).map_err(|problem| problem.kind.code);
        assert_eq!(found, expected, "{method} {path}");
    }
}

#[test]
fn every_path_says_which_methods_it_allows() {
    for route in TABLE {
        assert!(table::methods(route.path).contains(route.method), "{}", route.path);
    }
}

#[test]
fn openapi_says_what_the_table_says() {
    let document = document();
    let specified: BTreeSet<(String, String)> = operations(&document).map(|(method, path, _)| (method, path)).collect();
    let routed = TABLE.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    assert_eq!(specified, routed);
    for (method, path, operation) in operations(&document) {
        let route = TABLE.iter().find(|route| route.method == method && route.path == path).unwrap();
        assert_eq!(specified_answers(&document, operation), answers(route), "{method} {path}");
        let open = operation.get("security").is_some_and(|security| security.as_sequence().unwrap().is_empty());
        let asks = matches!(route.access, crate::layers::auth::Access::User | crate::layers::auth::Access::Admin);
        assert_eq!(open, !asks, "security of {method} {path}");
    }
}

#[test]
fn openapi_knows_every_code_once() {
    let document = document();
    let listed = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    let listed: Vec<&str> = listed.as_sequence().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    let unique: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(listed.len(), unique.len());
    assert_eq!(unique, kinds::ALL.iter().map(|kind| kind.code).collect());
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
}

fn document() -> Value {
    serde_yaml_ng::from_str(include_str!("../../openapi.yaml")).unwrap()
}

fn operations(document: &Value) -> impl Iterator<Item = (String, String, &Value)> {
    let paths = document["paths"].as_mapping().unwrap();
    paths.iter().flat_map(|(path, item)| {
        let operations = item.as_mapping().unwrap().iter().filter(|(name, _)| *name != "parameters");
        operations.map(move |(method, operation)| {
            (method.as_str().unwrap().to_uppercase(), path.as_str().unwrap().to_owned(), operation)
        })
    })
}

fn answers(route: &table::Route) -> Answers {
    let mut answers: Answers = route.statuses.iter().map(|status| (*status, BTreeSet::new())).collect();
    for kind in route.problems.iter().copied().flatten() {
        answers.entry(kind.status).or_default().insert(kind.code.to_owned());
    }
    answers
}

fn specified_answers(document: &Value, operation: &Value) -> Answers {
    let responses = operation["responses"].as_mapping().unwrap();
    responses
        .iter()
        .map(|(status, response)| {
            let status = status.as_str().unwrap().parse().unwrap();
            let codes = resolve(document, response).get("x-codes").and_then(Value::as_sequence);
            let codes = codes.map(|codes| codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect());
            (status, codes.unwrap_or_default())
        })
        .collect()
}

fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value.get("$ref") else { return value };
    let path = reference.as_str().unwrap().strip_prefix("#/").unwrap();
    path.split('/').fold(document, |value, part| value.get(part).unwrap_or_else(|| panic!("{path} leads nowhere")))
}
