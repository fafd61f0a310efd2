//! Elastic Common Schema 9.4.0.

use std::{collections::BTreeMap, net::IpAddr, sync::LazyLock};

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Fields by their dotted names.
#[derive(Debug, Deserialize)]
struct Schema {
    version: String,
    fields: BTreeMap<String, Field>,
}

#[derive(Debug, Deserialize)]
struct Field {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    normalize: Vec<String>,
    #[serde(default)]
    required: bool,
    /// A keyword that is longer is stored and not found, in characters.
    ignore_above: Option<usize>,
    allowed_values: Option<Allowed>,
    expected_values: Option<Vec<String>>,
}

/// Values; for categories with the types that go with each.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Allowed {
    Words(Vec<String>),
    Categories(BTreeMap<String, Vec<String>>),
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/ecs/ecs-9.4.0.json"))
        .unwrap_or_else(|error| panic!("{error}"))
});

/// What is ours: ECS asks for a name that it will not use.
const OURS: &str = "homeport";

/// Checks one document.
///
/// # Errors
///
/// With the first violation and where it is.
pub fn check(document: &Value) -> Result<()> {
    let schema = &*SCHEMA;
    let version = document["ecs"]["version"].as_str();
    ensure!(version == Some(&schema.version), "ecs.version is {version:?}, not {}", schema.version);
    for (name, _) in schema.fields.iter().filter(|(_, field)| field.required) {
        ensure!(document.pointer(&format!("/{}", name.replace('.', "/"))).is_some(), "{name} is required");
    }
    object("", document)?;
    categories(document)
}

fn object(prefix: &str, value: &Value) -> Result<()> {
    let fields = value.as_object().with_context(|| format!("{prefix} is an object"))?;
    for (name, value) in fields {
        let name = format!("{prefix}{name}");
        if name == OURS {
            continue;
        }
        ensure!(!name.ends_with('.') && !name.contains(".."), "an empty name in {name}");
        match SCHEMA.fields.get(&name) {
            Some(field) => check_field(field, value).with_context(|| name)?,
            None if value.is_object() => object(&format!("{name}."), value)?,
            None => bail!("there is no field {name}"),
        }
    }
    Ok(())
}

fn check_field(field: &Field, value: &Value) -> Result<()> {
    match value.as_array() {
        Some(values) => {
            ensure!(field.normalize.iter().any(|normalize| normalize == "array"), "no list is wanted");
            values.iter().try_for_each(|value| check_one(field, value))
        }
        None => {
            ensure!(field.normalize.is_empty(), "a list is wanted");
            check_one(field, value)
        }
    }
}

fn check_one(field: &Field, value: &Value) -> Result<()> {
    let text = value.as_str();
    match field.kind.as_str() {
        "keyword" | "wildcard" | "match_only_text" | "text" => ensure!(text.is_some(), "{value} is no text"),
        "long" => ensure!(value.is_i64(), "{value} is no signed number of 8 bytes"),
        "boolean" => ensure!(value.is_boolean(), "{value} is neither true nor false"),
        "ip" => ensure!(text.is_some_and(|text| text.parse::<IpAddr>().is_ok()), "{value} is no address"),
        "date" => ensure!(text.is_some_and(|text| text.parse::<Timestamp>().is_ok()), "{value} is no time"),
        "geo_point" => {
            let degrees = |name: &str| value[name].as_f64().unwrap_or(f64::NAN).abs();
            ensure!(degrees("lat") <= 90.0 && degrees("lon") <= 180.0, "{value} is no point on earth");
        }
        // Labels: flat, and texts.
        "object" => {
            let labels = value.as_object().context("an object is wanted")?;
            for (name, value) in labels {
                ensure!(!name.contains('.') && value.is_string(), "the label {name} is {value}");
            }
        }
        other => bail!("a type that this check does not know: {other}"),
    }
    if let (Some(longest), Some(text)) = (field.ignore_above, text) {
        ensure!(text.chars().count() <= longest, "longer than {longest} characters");
    }
    let is_allowed = |word: &str| match &field.allowed_values {
        None => true,
        Some(Allowed::Words(words)) => words.iter().any(|allowed| allowed == word),
        Some(Allowed::Categories(categories)) => categories.contains_key(word),
    };
    ensure!(text.is_none_or(is_allowed), "{value} is not allowed");
    let expected = field.expected_values.as_ref();
    ensure!(
        expected.is_none_or(|expected| expected.iter().any(|word| Some(word.as_str()) == text)),
        "{value} is not expected"
    );
    Ok(())
}

/// Types go with at least one of the categories.
fn categories(document: &Value) -> Result<()> {
    let words = |name: &str| match &document["event"][name] {
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let (of, types): (Vec<&str>, Vec<&str>) = (words("category"), words("type"));
    let Some(Allowed::Categories(categories)) = &SCHEMA.fields["event.category"].allowed_values else {
        bail!("categories have types")
    };
    for kind in types {
        let goes = |category: &&str| {
            categories.get(*category).is_some_and(|types| types.iter().any(|of| of == kind))
        };
        ensure!(of.iter().any(goes), "event.type {kind} does not go with {of:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> Vec<(String, Value)> {
        let directory = format!("{}/../agent/src/sink/format/golden", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(directory).expect("the directory");
        let documents: Vec<_> = files
            .map(|file| file.expect("an entry").path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ecs-")))
            .map(|path| {
                let text = std::fs::read_to_string(&path).expect("a text");
                (path.display().to_string(), serde_json::from_str(&text).expect("JSON"))
            })
            .collect();
        assert!(documents.len() >= 17, "{} shapes", documents.len());
        documents
    }

    #[test]
    fn every_shape_of_document_keeps_to_the_schema() {
        for (name, document) in documents() {
            check(&document).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        }
    }

    fn refused(change: impl FnOnce(&mut Value), because: &str) {
        let (_, mut document) = documents()
            .into_iter()
            .find(|(name, _)| name.ends_with("ecs-finding-open.json"))
            .expect("it exists");
        change(&mut document);
        let error = check(&document).expect_err(because);
        assert!(format!("{error:#}").contains(because), "{error:#}");
    }

    #[test]
    fn a_document_that_does_not_is_refused() {
        refused(|document| document["ecs"]["version"] = "8.0.0".into(), "ecs.version");
        refused(
            |document| document["destination"]["country"] = "DE".into(),
            "there is no field destination.country",
        );
        refused(|document| document["source"]["port"] = "443".into(), "no signed number");
        refused(|document| document["source"]["ip"] = "here".into(), "no address");
        refused(|document| document["event"]["start"] = 5.into(), "no time");
        refused(|document| document["event"]["category"] = "network".into(), "a list is wanted");
        refused(|document| document["event"]["kind"] = "warning".into(), "not allowed");
        refused(|document| document["event"]["type"] = serde_json::json!(["user"]), "does not go with");
        refused(|document| document["network"]["direction"] = "away".into(), "not expected");
        refused(|document| document["labels"]["episode"] = 5.into(), "the label");
        refused(
            |document| document["destination"]["geo"]["location"]["lat"] = 91.into(),
            "no point on earth",
        );
        refused(
            |document| {
                document.as_object_mut().expect("an object").remove("@timestamp");
            },
            "@timestamp is required",
        );
    }
}
