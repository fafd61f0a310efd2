//! Walks the parsed file, section by section, and turns each fault into a report instead of an end.
//!
//! serde would stop at the first wrong type. Here a value that cannot be used is reported and skipped, so one
//! run of `homeport check` shows everything. Which keys a section has comes from the same [`keys`](super::keys)
//! table that the documentation is made of: a key that is read but not in the table, or the reverse, fails every
//! test that reads the section.

use std::ops::RangeInclusive;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    keys::{Key, Keys, Shown},
    report::{Place, Placed, Report},
    suggest,
    values::{self, Refusal},
};

/// A value in the file.
pub(super) struct Item<'a> {
    pub(super) place: Place,
    value: &'a DeValue<'a>,
}

/// A table in the file.
pub(super) struct Section<'a> {
    pub(super) place: Place,
    table: &'a DeTable<'a>,
    keys: &'static Keys,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(table: &'a Spanned<DeTable<'a>>, keys: &'static Keys) -> Self {
        let place = Place { path: String::new(), span: table.span() };
        Self { place, table: table.get_ref(), keys, asked: Vec::new() }
    }

    /// Reads a value that may be missing.
    pub(super) fn placed<T>(
        &mut self,
        report: &mut Report<'_>,
        name: &'static str,
        read: impl Fn(&mut Report<'_>, &Item<'a>) -> Option<T>,
    ) -> Option<Placed<T>> {
        let item = self.item(name)?;
        let value = read(report, &item)?;
        Some(Placed { place: item.place, value })
    }

    /// Reads a value that may be missing, without its place.
    pub(super) fn optional<T>(
        &mut self,
        report: &mut Report<'_>,
        name: &'static str,
        read: impl Fn(&mut Report<'_>, &Item<'a>) -> Option<T>,
    ) -> Option<T> {
        self.placed(report, name, read).map(|placed| placed.value)
    }

    /// Reads a value that must be there.
    pub(super) fn required<T>(
        &mut self,
        report: &mut Report<'_>,
        name: &'static str,
        read: impl Fn(&mut Report<'_>, &Item<'a>) -> Option<T>,
    ) -> Option<Placed<T>> {
        if !self.table.contains_key(name) {
            let place = Place { path: join(&self.place.path, name), span: self.place.span.clone() };
            let accepted = match self.keys.find(name) {
                Some(Key { kind, shown: Shown::Required(example), .. }) => {
                    format!("{kind}: {name} = {example}")
                }
                Some(_) | None => format!("{name} = ..."),
            };
            report.fault_without_value(&place, "is missing", accepted);
        }
        self.placed(report, name, read)
    }

    /// Reads every element of an array; missing is empty.
    pub(super) fn list<T>(
        &mut self,
        report: &mut Report<'_>,
        name: &'static str,
        read: impl Fn(&mut Report<'_>, &Item<'a>) -> Option<T>,
    ) -> Vec<Placed<T>> {
        let Some(item) = self.item(name) else { return Vec::new() };
        match item.value {
            DeValue::Array(_) => elements(report, &item, read),
            _ => {
                report.fault(&item.place, "is not an array", "an array, such as [\"...\"]");
                Vec::new()
            }
        }
    }

    /// Reads one value, or every element of an array; missing is empty.
    pub(super) fn one_or_list<T>(
        &mut self,
        report: &mut Report<'_>,
        name: &'static str,
        read: impl Fn(&mut Report<'_>, &Item<'a>) -> Option<T>,
    ) -> Vec<Placed<T>> {
        let Some(item) = self.item(name) else { return Vec::new() };
        if matches!(item.value, DeValue::Array(_)) {
            return elements(report, &item, read);
        }
        let value = read(report, &item);
        value.map(|value| Placed { place: item.place, value }).into_iter().collect()
    }

    /// Opens a table inside this one.
    pub(super) fn section(
        &mut self,
        report: &mut Report<'_>,
        name: &'static str,
        keys: &'static Keys,
    ) -> Option<Self> {
        let item = self.item(name)?;
        open(report, item, keys, &format!("a table: {}", keys.header))
    }

    /// Opens every table of an array of tables; missing is empty.
    pub(super) fn sections(
        &mut self,
        report: &mut Report<'_>,
        name: &'static str,
        keys: &'static Keys,
    ) -> Vec<Self> {
        let Some(item) = self.item(name) else { return Vec::new() };
        let accepted = format!("one {} for each", keys.header);
        let DeValue::Array(array) = item.value else {
            report.fault_without_value(&item.place, "is not a list of tables", accepted);
            return Vec::new();
        };
        let items = array.iter().enumerate().map(|(idx, value)| element(&item, idx, value));
        items.filter_map(|item| open(report, item, keys, &accepted)).collect()
    }

    /// Reads on as another section: which one, a key of this one has said.
    pub(super) const fn read_as(&mut self, keys: &'static Keys) {
        self.keys = keys;
    }

    /// How many of its known keys are given.
    pub(super) fn n_given(&self) -> usize {
        self.keys.all().filter(|key| self.table.contains_key(key.name)).count()
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self, report: &mut Report<'_>) {
        debug_assert!(
            self.keys.all().all(|key| self.asked.contains(&key.name)),
            "every documented key of {} is read",
            self.keys.header
        );
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if self.keys.find(name).is_some() {
                continue;
            }
            let known = || self.keys.all().map(|key| key.name);
            let place = Place { path: join(&self.place.path, &shown_key(name)), span: key.span() };
            let hint = suggest::hint(name, known());
            let accepted = known().collect::<Vec<_>>().join(", ");
            report.fault_without_value(&place, format!("is not a key here{hint}"), accepted);
        }
    }

    fn item(&mut self, name: &'static str) -> Option<Item<'a>> {
        debug_assert!(self.keys.find(name).is_some(), "{name} is documented in {}", self.keys.header);
        self.asked.push(name);
        let value = self.table.get(name)?;
        Some(Item {
            place: Place { path: join(&self.place.path, name), span: value.span() },
            value: value.get_ref(),
        })
    }
}

impl Keys {
    fn all(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.list.iter().chain(self.shared.into_iter().flat_map(|shared| shared.list))
    }

    fn find(&self, name: &str) -> Option<&'static Key> {
        self.all().find(|key| key.name == name)
    }
}

/// A text that is not empty and fits on a line.
pub(super) fn text(report: &mut Report<'_>, item: &Item<'_>) -> Option<String> {
    parsed(report, item, values::line)
}

/// A text that `parse` makes something of.
pub(super) fn parsed<T>(
    report: &mut Report<'_>,
    item: &Item<'_>,
    parse: impl Fn(&str) -> Result<T, Refusal>,
) -> Option<T> {
    let DeValue::String(text) = item.value else {
        wrong_type(report, item, "a text in quotes");
        return None;
    };
    accept(report, item, parse(text))
}

/// `true` or `false`.
pub(super) fn flag(report: &mut Report<'_>, item: &Item<'_>) -> Option<bool> {
    let DeValue::Boolean(flag) = item.value else {
        wrong_type(report, item, "true or false");
        return None;
    };
    Some(*flag)
}

/// A whole number within bounds.
pub(super) fn whole(report: &mut Report<'_>, item: &Item<'_>, bounds: RangeInclusive<u64>) -> Option<u64> {
    let accepted = format!("a whole number from {} to {}", bounds.start(), bounds.end());
    let DeValue::Integer(integer) = item.value else {
        wrong_type(report, item, &accepted);
        return None;
    };
    let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
    let number = number.filter(|number| bounds.contains(number));
    if number.is_none() {
        report.fault(&item.place, "is out of bounds", accepted);
    }
    number
}

/// A whole number within bounds, or a text that `parse` makes something of.
pub(super) fn whole_or_parsed<T>(
    report: &mut Report<'_>,
    item: &Item<'_>,
    bounds: RangeInclusive<u64>,
    from_number: impl Fn(u64) -> T,
    parse: impl Fn(&str) -> Result<T, Refusal>,
) -> Option<T> {
    match item.value {
        DeValue::Integer(_) => whole(report, item, bounds).map(from_number),
        _ => parsed(report, item, parse),
    }
}

/// A time stamp, in quotes or as TOML writes it.
pub(super) fn time(report: &mut Report<'_>, item: &Item<'_>) -> Option<crate::clock::WallTime> {
    match item.value {
        DeValue::Datetime(datetime) => accept(report, item, values::time(&datetime.to_string())),
        _ => parsed(report, item, values::time),
    }
}

fn accept<T>(report: &mut Report<'_>, item: &Item<'_>, result: Result<T, Refusal>) -> Option<T> {
    result.map_err(|refusal| report.fault(&item.place, refusal.problem, refusal.accepted)).ok()
}

fn wrong_type(report: &mut Report<'_>, item: &Item<'_>, accepted: &str) {
    report.fault(&item.place, format!("is {}", type_words(item.value)), accepted);
}

const fn type_words(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn elements<'a, T>(
    report: &mut Report<'_>,
    array: &Item<'a>,
    read: impl Fn(&mut Report<'_>, &Item<'a>) -> Option<T>,
) -> Vec<Placed<T>> {
    let DeValue::Array(values) = array.value else { return Vec::new() };
    let items = values.iter().enumerate().map(|(idx, value)| element(array, idx, value));
    items
        .filter_map(|item| {
            let value = read(report, &item)?;
            Some(Placed { place: item.place, value })
        })
        .collect()
}

fn element<'a>(array: &Item<'a>, idx: usize, value: &'a Spanned<DeValue<'a>>) -> Item<'a> {
    let place = Place { path: format!("{}[{idx}]", array.place.path), span: value.span() };
    Item { place, value: value.get_ref() }
}

fn open<'a>(
    report: &mut Report<'_>,
    item: Item<'a>,
    keys: &'static Keys,
    accepted: &str,
) -> Option<Section<'a>> {
    let DeValue::Table(table) = item.value else {
        report.fault(&item.place, format!("is {}", type_words(item.value)), accepted);
        return None;
    };
    Some(Section { place: item.place, table, keys, asked: Vec::new() })
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A key of the operator's making: quoted unless it is plain, and not longer than a line.
fn shown_key(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    let short: String = name.chars().take(40).collect();
    if !name.is_empty() && name.chars().all(plain) { short } else { format!("{short:?}") }
}
