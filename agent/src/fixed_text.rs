//! Texts that are part of the program, read back from a file.
//!
//! Names of presets and registries are constants in the code. What an agent before this one has saved may name
//! ones that this build does not have; they are kept for ever, once each. There are a handful of them.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Deserializer};

/// Such a text. Under this name, because `serde` takes a plain `&str` for one that is borrowed from the input.
pub(crate) type FixedText = &'static str;

/// One text.
pub(crate) fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'static str, D::Error> {
    String::deserialize(deserializer).map(fixed)
}

/// One, or none.
pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'static str>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(fixed))
}

fn fixed(text: String) -> &'static str {
    static KNOWN: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    match known.get(text.as_str()) {
        Some(fixed) => fixed,
        None => {
            let fixed: &'static str = Box::leak(text.into_boxed_str());
            known.insert(fixed);
            fixed
        }
    }
}
