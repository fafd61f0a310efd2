//! A record that is too long for the ledger is shortened, never dropped: its longest lists and texts are cut, and what
//! was cut is counted in `unmapped.homeport.shortened`.

use serde_json::{Map, Value, json};

/// Texts up to this many bytes are not cut.
const MIN_TEXT_BYTES: usize = 256;

/// Bytes that the count of what was cut may take.
const COUNT_BYTES: usize = 4_096;

/// The line of a record, without newline, in at most `max_bytes` (some thousands at least).
pub(crate) fn shorten(line: &str, max_bytes: usize) -> String {
    if line.len() <= max_bytes {
        return line.to_owned();
    }
    let Ok(mut record) = serde_json::from_str::<Value>(line) else {
        // No record is anything but JSON.
        return json!({ "message": "a record that was too long and no JSON" }).to_string();
    };
    let mut removed = Map::new();
    let mut bytes = line.len();
    while bytes + COUNT_BYTES > max_bytes {
        let Some(longest) = longest(&record) else { break };
        let count = record.pointer_mut(&longest).map_or(0, cut);
        let before = removed.get(&longest).and_then(Value::as_u64).unwrap_or(0);
        removed.insert(longest, json!(before + count as u64));
        bytes = record.to_string().len();
    }
    let mut removed = Value::Object(removed);
    if removed.to_string().len() > COUNT_BYTES - 64 {
        removed = json!({ "lists and texts": removed.as_object().map_or(0, Map::len) });
    }
    if let Some(Value::Object(homeport)) = record.pointer_mut("/unmapped/homeport") {
        homeport.insert("shortened".to_owned(), removed);
    }
    let text = record.to_string();
    if text.len() <= max_bytes {
        return text;
    }
    // Thousands of keys: no record of ours.
    let kept = ["class_uid", "activity_id", "time", "severity_id", "message", "metadata"];
    let kept = kept.iter().filter_map(|key| Some(((*key).to_owned(), record.get(*key)?.clone())));
    Value::Object(Map::from_iter(kept)).to_string()
}

/// Where the longest thing is that can be cut.
fn longest(record: &Value) -> Option<String> {
    let mut longest = (0, None);
    walk(record, &mut String::new(), &mut longest);
    longest.1
}

/// Returns the length of the value's text.
fn walk(value: &Value, path: &mut String, longest: &mut (usize, Option<String>)) -> usize {
    let mut below = |key: &str, value: &Value| {
        let length = path.len();
        path.push('/');
        path.push_str(&key.replace('~', "~0").replace('/', "~1"));
        let bytes = walk(value, path, longest);
        path.truncate(length);
        bytes
    };
    let (bytes, can_be_cut) = match value {
        Value::Array(list) => {
            let items = (0..).zip(list).map(|(place, item): (usize, _)| below(&place.to_string(), item) + 1);
            (items.sum::<usize>() + 2, list.len() > 1)
        }
        Value::Object(map) => {
            (map.iter().map(|(key, value)| below(key, value) + key.len() + 4).sum::<usize>() + 2, false)
        }
        Value::String(text) => (text.len() + 2, text.len() > MIN_TEXT_BYTES),
        Value::Null | Value::Bool(_) | Value::Number(_) => (8, false),
    };
    if can_be_cut && bytes > longest.0 {
        *longest = (bytes, Some(path.clone()));
    }
    bytes
}

/// Halves it; how many elements or bytes went.
fn cut(value: &mut Value) -> usize {
    match value {
        Value::Array(list) => {
            let keep = list.len() / 2;
            let removed = list.len() - keep;
            list.truncate(keep);
            removed
        }
        Value::String(text) => {
            let keep = text.floor_char_boundary(text.len() / 2);
            let removed = text.len() - keep;
            text.truncate(keep);
            removed
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 65_535;

    #[test]
    fn what_is_cut_is_counted_and_the_rest_stays() {
        let list: Vec<Value> =
            (0..10_000).map(|number| json!({ "address": format!("192.0.2.{number}") })).collect();
        let record = json!({
            "class_uid": 2004,
            "metadata": { "sequence": 7 },
            "unmapped": { "homeport": { "destinations": list, "short": [1, 2, 3] } },
        });
        let text = shorten(&record.to_string(), MAX);
        assert!(text.len() <= MAX && text.len() > MAX / 4, "{}", text.len());
        let short: Value = serde_json::from_str(&text).expect("JSON");
        let homeport = &short["unmapped"]["homeport"];
        let kept = homeport["destinations"].as_array().expect("a list");
        assert_eq!(kept.as_slice(), &list[..kept.len()]);
        let removed = &homeport["shortened"]["/unmapped/homeport/destinations"];
        assert_eq!(removed.as_u64(), Some((list.len() - kept.len()) as u64));
        assert_eq!((&homeport["short"], &short["metadata"]), (&json!([1, 2, 3]), &record["metadata"]));
    }

    #[test]
    fn long_texts_are_cut_between_letters_and_a_short_record_is_as_it_was() {
        let record = json!({ "unmapped": { "homeport": { "reason": "é".repeat(80_000) } } });
        let text = shorten(&record.to_string(), MAX);
        assert!(text.len() <= MAX);
        let short: Value = serde_json::from_str(&text).expect("JSON");
        assert!(short["unmapped"]["homeport"]["reason"].as_str().is_some_and(|text| text.starts_with("éé")));
        assert_eq!(shorten("{ \"a\": 1 }", MAX), "{ \"a\": 1 }");
    }

    #[test]
    fn whatever_it_is_it_fits_in_the_end() {
        let keys: Map<String, Value> =
            (0..20_000).map(|number| (number.to_string(), json!(number))).collect();
        let many: Vec<Value> = (0..2_000).map(|_| json!("x".repeat(400))).collect();
        let nested = json!([[[many]]]);
        for record in
            [json!({ "time": 1, "x": keys }), json!({ "unmapped": { "homeport": { "x": nested } } })]
        {
            let text = shorten(&record.to_string(), MAX);
            assert!(text.len() <= MAX, "{}", text.len());
            assert!(serde_json::from_str::<Value>(&text).is_ok());
        }
    }
}
