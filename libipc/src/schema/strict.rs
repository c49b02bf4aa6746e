//! Objects that have the properties their schema names, and no others.

use serde_json::{Map, Value};

/// What only a schema for objects has.
const OF_OBJECTS: [&str; 8] = [
    "properties",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
    "required",
    "dependentRequired",
    "dependentSchemas",
    "propertyNames",
];

/// Keywords with one schema.
const ONE: [&str; 11] = [
    "propertyNames",
    "items",
    "additionalItems",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// Keywords with named schemas.
const NAMED: [&str; 5] =
    ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];

/// Keywords with a list of schemas.
const LISTED: [&str; 5] = ["prefixItems", "items", "allOf", "anyOf", "oneOf"];

/// Adds `additionalProperties: false` wherever a schema is about objects and says nothing else.
/// JSON is at most 128 levels deep, as it was read.
pub(super) fn forbid_others(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    for keyword in ONE {
        if let Some(schema @ Value::Object(_)) = object.get_mut(keyword) {
            forbid_others(schema);
        }
    }
    for keyword in NAMED {
        if let Some(Value::Object(schemas)) = object.get_mut(keyword) {
            schemas.values_mut().for_each(forbid_others);
        }
    }
    for keyword in LISTED {
        if let Some(Value::Array(schemas)) = object.get_mut(keyword) {
            schemas.iter_mut().for_each(forbid_others);
        }
    }
    if is_about_objects(object) && !object.contains_key("additionalProperties") {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
}

fn is_about_objects(schema: &Map<String, Value>) -> bool {
    let is_object = |kind: &Value| kind.as_str() == Some("object");
    let says_so = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(is_object),
        Some(kind) => is_object(kind),
        None => false,
    };
    says_so || OF_OBJECTS.iter().any(|keyword| schema.contains_key(*keyword))
}
