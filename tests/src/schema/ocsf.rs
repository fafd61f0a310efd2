//! OCSF 1.8.0.

use std::{collections::BTreeMap, net::IpAddr, sync::LazyLock};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The classes that homeport writes, and the objects in them.
#[derive(Debug, Deserialize)]
struct Schema {
    version: String,
    types: BTreeMap<String, Type>,
    classes: BTreeMap<String, Item>,
    objects: BTreeMap<String, Item>,
}

/// A type of values.
#[derive(Debug, Deserialize)]
struct Type {
    /// What it is a special kind of.
    #[serde(rename = "type")]
    base: Option<String>,
    range: Option<[i64; 2]>,
    max_len: Option<usize>,
}

/// A class or an object.
#[derive(Debug, Deserialize)]
struct Item {
    uid: Option<u64>,
    category_uid: Option<u64>,
    #[serde(default)]
    constraints: BTreeMap<String, Vec<String>>,
    attributes: BTreeMap<String, Attribute>,
}

/// What may stand under a name.
#[derive(Debug, Deserialize)]
struct Attribute {
    #[serde(rename = "type")]
    kind: String,
    object_type: Option<String>,
    requirement: Option<String>,
    #[serde(default)]
    is_array: bool,
    /// It exists only for records with one of these profiles.
    profiles: Option<Vec<String>>,
    /// The attribute with the words for this number.
    sibling: Option<String>,
    #[serde(rename = "enum")]
    values: Option<BTreeMap<String, String>>,
    #[serde(rename = "@deprecated")]
    deprecated: Option<Value>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/ocsf/ocsf-1.8.0.json"))
        .unwrap_or_else(|error| panic!("{error}"))
});

/// Checks one record.
///
/// # Errors
///
/// With the first violation and where it is.
pub fn check(record: &Value) -> Result<()> {
    let schema = &*SCHEMA;
    let fields = record.as_object().context("a record is an object")?;
    let version = record["metadata"]["version"].as_str();
    ensure!(version == Some(&schema.version), "metadata.version is {version:?}, not {}", schema.version);
    let uid = record["class_uid"].as_u64();
    let (name, class) = schema
        .classes
        .iter()
        .find(|(_, class)| class.uid.is_some() && class.uid == uid)
        .with_context(|| format!("class_uid is {uid:?}"))?;
    ensure!(record["category_uid"].as_u64() == class.category_uid, "category_uid of {name}");
    let type_uid = uid.zip(record["activity_id"].as_u64()).map(|(uid, activity)| uid * 100 + activity);
    ensure!(record["type_uid"].as_u64() == type_uid, "type_uid is not class_uid * 100 + activity_id");
    let profiles: Vec<&str> = match &record["metadata"]["profiles"] {
        Value::Array(profiles) => profiles.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    item(class, fields, &profiles).with_context(|| format!("{name} {}", record["metadata"]["uid"]))
}

fn item(item: &Item, fields: &Map<String, Value>, profiles: &[&str]) -> Result<()> {
    let has_profile = |attribute: &Attribute| match &attribute.profiles {
        None => true,
        Some(of) => of.iter().any(|profile| profiles.contains(&profile.as_str())),
    };
    for (name, attribute) in item.attributes.iter().filter(|(_, attribute)| has_profile(attribute)) {
        let is_required = attribute.requirement.as_deref() == Some("required");
        ensure!(!is_required || fields.contains_key(name), "{name} is required");
    }
    for (name, value) in fields {
        let attribute = item.attributes.get(name).with_context(|| format!("there is no attribute {name}"))?;
        ensure!(has_profile(attribute), "{name} needs one of the profiles {:?}", attribute.profiles);
        ensure!(attribute.deprecated.is_none(), "{name} is deprecated");
        one_or_many(attribute, value, profiles).with_context(|| name.clone())?;
        siblings(name, attribute, value, fields)?;
    }
    for (constraint, names) in &item.constraints {
        let present = names.iter().filter(|name| fields.contains_key(*name)).count();
        match constraint.as_str() {
            "at_least_one" => ensure!(present >= 1, "at least one of {names:?}"),
            "just_one" => ensure!(present == 1, "just one of {names:?}"),
            other => bail!("a constraint that this check does not know: {other}"),
        }
    }
    Ok(())
}

/// The words beside a number are those of the schema, unless the number says that they are not (99).
fn siblings(name: &str, attribute: &Attribute, value: &Value, fields: &Map<String, Value>) -> Result<()> {
    let (Some(sibling), Some(values)) = (&attribute.sibling, &attribute.values) else { return Ok(()) };
    let words = fields.get(sibling).and_then(Value::as_str);
    let expected = values.get(&value.to_string()).map(String::as_str);
    match value.as_u64() {
        Some(99) => ensure!(words.is_some_and(|words| !words.is_empty()), "{name} is 99 without {sibling}"),
        // Types are named after their class and their activity, whatever that is called.
        _ if name == "type_uid" && value.to_string().ends_with("99") => {}
        _ => ensure!(words.is_none() || words == expected, "{name} is {value}, and {sibling} is {words:?}"),
    }
    Ok(())
}

fn one_or_many(attribute: &Attribute, value: &Value, profiles: &[&str]) -> Result<()> {
    if !attribute.is_array {
        return one(attribute, value, profiles);
    }
    let values = value.as_array().context("a list is wanted")?;
    values
        .iter()
        .enumerate()
        .try_for_each(|(place, value)| one(attribute, value, profiles).with_context(|| format!("[{place}]")))
}

fn one(attribute: &Attribute, value: &Value, profiles: &[&str]) -> Result<()> {
    if let Some(values) = &attribute.values {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        ensure!(values.contains_key(&text), "{value} is none of {:?}", values.keys());
    }
    if let Some(object) = &attribute.object_type {
        let fields = value.as_object().with_context(|| format!("an object is wanted, not {value}"))?;
        if object == "object" {
            return Ok(());
        }
        let of = SCHEMA.objects.get(object).with_context(|| format!("tests/data has no object {object}"))?;
        return item(of, fields, profiles);
    }
    scalar(&attribute.kind, value)
}

fn scalar(kind: &str, value: &Value) -> Result<()> {
    let of = SCHEMA.types.get(kind).with_context(|| format!("there is no type {kind}"))?;
    if let (Some([least, most]), Some(number)) = (of.range, value.as_i64()) {
        ensure!((least..=most).contains(&number), "{number} is not from {least} to {most}");
    }
    if let (Some(longest), Some(text)) = (of.max_len, value.as_str()) {
        ensure!(text.len() <= longest, "longer than {longest} bytes");
    }
    match kind {
        "ip_t" => {
            let text = value.as_str().unwrap_or_default();
            ensure!(text.parse::<IpAddr>().is_ok(), "{value} is no address");
        }
        "json_t" => return Ok(()),
        _ => {}
    }
    match of.base.as_deref().unwrap_or(kind) {
        "string_t" => ensure!(value.is_string(), "{value} is no text ({kind})"),
        "integer_t" | "long_t" => ensure!(value.is_i64(), "{value} is no signed number of 8 bytes ({kind})"),
        "float_t" => ensure!(value.is_number(), "{value} is no number ({kind})"),
        "boolean_t" => ensure!(value.is_boolean(), "{value} is neither true nor false"),
        other => bail!("a type that this check does not know: {other}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(name: &str) -> Value {
        let path = format!("{}/../agent/src/record/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    #[test]
    fn every_shape_of_record_keeps_to_the_schema() {
        let directory = format!("{}/../agent/src/record/golden", env!("CARGO_MANIFEST_DIR"));
        let mut shapes = 0;
        for file in std::fs::read_dir(directory).expect("the directory") {
            let name = file.expect("an entry").file_name().to_string_lossy().into_owned();
            if name.ends_with(".json") {
                check(&golden(&name)).unwrap_or_else(|error| panic!("{name}: {error:#}"));
                shapes += 1;
            }
        }
        assert!(shapes >= 17, "{shapes} shapes of record");
    }

    /// Changes a good record at one place, and expects to be told of it.
    fn refused(change: impl FnOnce(&mut Value), because: &str) {
        let mut record = golden("finding-open.json");
        change(&mut record);
        let error = check(&record).expect_err(because);
        assert!(format!("{error:#}").contains(because), "{error:#}");
    }

    #[test]
    fn a_record_that_does_not_is_refused() {
        refused(|record| record["class_uid"] = 2005.into(), "class_uid");
        refused(|record| record["type_uid"] = 200_499.into(), "type_uid");
        refused(|record| record["metadata"]["version"] = "1.7.0".into(), "metadata.version");
        refused(|record| record["invented"] = 1.into(), "there is no attribute invented");
        refused(
            |record| record["evidences"][0]["dst_endpoint"]["geo"] = 1.into(),
            "there is no attribute geo",
        );
        refused(|record| record["severity_id"] = 7.into(), "none of");
        refused(|record| record["severity"] = "Bad".into(), "severity is Some(\"Bad\")");
        refused(|record| record["time"] = "2026".into(), "no signed number");
        refused(|record| record["is_alert"] = 1.into(), "neither true nor false");
        refused(|record| record["evidences"][0]["src_endpoint"]["ip"] = "localhost".into(), "no address");
        refused(|record| record["evidences"][0]["src_endpoint"]["port"] = 70_000.into(), "from 0 to 65535");
        refused(|record| record["evidences"][0]["process"] = Value::Object(Map::new()), "at least one of");
        refused(|record| record["evidences"] = record["evidences"][0].clone(), "a list");
        refused(
            |record| record["metadata"]["profiles"] = serde_json::json!(["host"]),
            "needs one of the profiles",
        );
        refused(
            |record| {
                record.as_object_mut().expect("an object").remove("finding_info");
            },
            "finding_info is required",
        );
    }
}
