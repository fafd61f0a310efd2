//! A file was replaced: take it, or keep the previous one and say why.
//!
//! Only the decision is here. Who watches the files, swaps the [`super::locator::Locator`] and judges live flows again
//! is `app`. Whatever is wrong with the new file (gone, truncated in place, garbage, far smaller than the one in use),
//! the one in use stays: it is in memory and does not need its file any more.

use std::{fmt, path::Path, sync::Arc};

use super::{
    DatabaseId,
    asn::AsnDatabase,
    database::Database,
    fault::{Fault, LoadError},
    gate::{self, Report},
};
use crate::clock::WallTime;

/// A replacement that is fine.
#[derive(Debug)]
pub enum Reload<D> {
    /// The same bytes as before.
    Unchanged,
    /// Use it from now on.
    Accepted {
        /// The new one.
        database: Arc<D>,
        /// It was built before the one it replaces. Going back can be meant, so it is used; it deserves a line in
        /// the log.
        is_older: bool,
    },
}

/// A replacement that is not used.
#[derive(Debug)]
pub struct Rejected {
    /// What is wrong with it.
    pub error: LoadError,
    /// What stays in use.
    pub kept: Arc<DatabaseId>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; the previous one, built {}, stays in use", self.error, self.kept.built)
    }
}

impl std::error::Error for Rejected {}

/// Decides about the file that is at `path` now. `partial_databases` lets it answer for much less than `current`.
pub fn country(
    current: &Database,
    path: &Path,
    now: WallTime,
    partial_databases: bool,
) -> Result<(Reload<Database>, Report), Rejected> {
    let rejected = |error| Rejected { error, kept: Arc::clone(current.id()) };
    let (database, report) = gate::open(path, now).map_err(rejected)?;
    if database.id().sha256 == current.id().sha256 {
        return Ok((Reload::Unchanged, report));
    }
    if !partial_databases {
        gate::check_replacement(current.contents(), database.contents())
            .map_err(|fault| rejected(about(path, fault)))?;
    }
    let is_older = database.id().built < current.id().built;
    Ok((Reload::Accepted { database: Arc::new(database), is_older }, report))
}

/// The same for an ASN database.
pub fn asn(
    current: &AsnDatabase,
    path: &Path,
    now: WallTime,
    partial_databases: bool,
) -> Result<Reload<AsnDatabase>, Rejected> {
    let rejected = |error| Rejected { error, kept: Arc::clone(current.id()) };
    let database = AsnDatabase::open(path).map_err(rejected)?;
    gate::check_date(database.id(), now).map_err(|error| rejected(about(path, error.fault)))?;
    if database.id().sha256 == current.id().sha256 {
        return Ok(Reload::Unchanged);
    }
    if !partial_databases && database.networks() < current.networks().div_ceil(2) {
        let fault =
            Fault::Collapse { what: "networks", current: current.networks(), new: database.networks() };
        return Err(rejected(about(path, fault)));
    }
    let is_older = database.id().built < current.id().built;
    Ok(Reload::Accepted { database: Arc::new(database), is_older })
}

fn about(path: &Path, fault: Fault) -> LoadError {
    LoadError { file: path.display().to_string().into(), fault }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::geo::fixture::{self, NOW};

    const ROWS: [(&str, &str); 4] =
        [("1.0.0.0/8", "AU"), ("2.0.0.0/8", "FR"), ("3.0.0.0/8", "US"), ("2001:200::/32", "JP")];

    struct Place {
        dir: tempfile::TempDir,
        current: Database,
    }

    impl Place {
        fn new() -> Self {
            let current = Database::from_bytes(fixture::flat(&ROWS), "country.mmdb").expect("valid");
            Self { dir: tempfile::tempdir().expect("directory"), current }
        }

        fn put(&self, bytes: &[u8]) {
            fs::write(self.path(), bytes).expect("write");
        }

        fn path(&self) -> std::path::PathBuf {
            self.dir.path().join("country.mmdb")
        }

        fn reload(&self, partial_databases: bool) -> Result<Reload<Database>, Rejected> {
            country(&self.current, &self.path(), NOW, partial_databases).map(|(reload, _)| reload)
        }

        #[track_caller]
        fn is_rejected(&self, expected: &str) {
            let words = self.reload(false).expect_err("rejected").to_string();
            assert!(words.contains(expected), "{words}");
            assert!(words.contains(&self.path().display().to_string()), "{words}");
            assert!(
                words.ends_with("the previous one, built 2026-06-01T00:00:00.000Z, stays in use"),
                "{words}"
            );
        }
    }

    #[test]
    fn the_same_bytes_change_nothing() {
        let place = Place::new();
        place.put(&fixture::flat(&ROWS));
        assert!(matches!(place.reload(false), Ok(Reload::Unchanged)));
    }

    #[test]
    fn another_good_file_is_accepted() {
        let place = Place::new();
        let mut rows = ROWS;
        rows[0].1 = "NZ";
        place.put(&fixture::flat(&rows));
        let Ok(Reload::Accepted { database, is_older }) = place.reload(false) else { panic!("accepted") };
        assert_ne!(database.id().sha256, place.current.id().sha256);
        assert!(!is_older);
    }

    #[test]
    fn a_removed_empty_truncated_or_garbage_file_keeps_the_previous_one() {
        let place = Place::new();
        place.is_rejected("cannot be read");
        place.put(b"");
        place.is_rejected("is empty");
        let good = fixture::flat(&ROWS);
        place.put(&good[..good.len() / 2]);
        place.is_rejected("is not a complete MaxMind DB file");
        place.put(&[0xab; 5000]);
        place.is_rejected("is not a complete MaxMind DB file");
        fs::remove_file(place.path()).expect("remove");
        fs::create_dir(place.path()).expect("directory");
        place.is_rejected("is not a regular file");
    }

    #[test]
    fn a_file_of_another_kind_keeps_the_previous_one() {
        let place = Place::new();
        place.put(&fixture::asn(&[("1.0.0.0/8", 13335, "X")]));
        place.is_rejected("has no country in any of its 1 networks");
    }

    #[test]
    fn a_collapse_is_rejected_unless_it_is_meant() {
        let place = Place::new();
        place.put(&fixture::flat(&ROWS[..1]));
        place.is_rejected(
            "answers for 16777216 public IPv4 addresses where the one in use answers for 50331648",
        );
        assert!(matches!(place.reload(true), Ok(Reload::Accepted { .. })));
        place.put(&fixture::ipv4_only(&ROWS[..3]));
        place.is_rejected("answers for 0 IPv6 networks of length 64");
    }

    #[test]
    fn an_asn_database_follows_the_same_rules() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("asn.mmdb");
        let rows = [("1.0.0.0/24", 13335, "C"), ("8.8.8.0/24", 15169, "G"), ("9.9.9.0/24", 19281, "Q")];
        let current = AsnDatabase::from_bytes(fixture::asn(&rows), "asn.mmdb").expect("valid");
        assert!(asn(&current, &path, NOW, false).is_err());
        fs::write(&path, fixture::asn(&rows)).expect("write");
        assert!(matches!(asn(&current, &path, NOW, false), Ok(Reload::Unchanged)));
        fs::write(&path, fixture::asn(&rows[..2])).expect("write");
        assert!(matches!(asn(&current, &path, NOW, false), Ok(Reload::Accepted { .. })));
        fs::write(&path, fixture::asn(&rows[..1])).expect("write");
        assert!(asn(&current, &path, NOW, false).is_err());
        assert!(matches!(asn(&current, &path, NOW, true), Ok(Reload::Accepted { .. })));
        fs::write(&path, fixture::flat(&ROWS)).expect("write");
        assert!(asn(&current, &path, NOW, true).is_err());
    }
}
