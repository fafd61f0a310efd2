//! On a real file system.

use std::{fs, sync::Arc};

use crate::{
    clock::WallTime,
    ledger::{Ledger, Page, RealDisk, Retention, Shared, Source as _, open, retention::Pruning},
};

fn record(day: i64) -> Arc<str> {
    format!("{{\"time\":{},\"x\":\"{}\"}}", day * 86_400_000, "x".repeat(1_000)).into()
}

#[test]
fn a_ledger_on_disk_is_found_again_and_is_not_for_everyone() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state/ledger");
    let copies = vec![directory.path().join("ledger.head")];
    let now = WallTime(0);
    for round in 0_u64..3 {
        let shared = Shared::new(&path);
        let ledger = Ledger::new(Arc::clone(&shared));
        let size = ledger.size();
        let (mut store, found) = open(RealDisk, copies.clone(), "homeport/h1", shared, now).expect("opens");
        assert_eq!((found.lost, *size.borrow()), (None, round * 300));
        let entries: Vec<Arc<str>> = (0..300).map(record).collect();
        store.append(&entries, now).expect("works");
        assert_eq!(*size.borrow(), (round + 1) * 300, "readers hear of it before it is signed");
        if round > 0 {
            store.publish(now).expect("works");
        }
        let page = Page { entries: 10_000, bytes: usize::MAX };
        assert_eq!(ledger.read(0, page).expect("readable").len() as u64, (round + 1) * 300);
    }
    let mode = |name: &str| path.join(name).metadata().expect("there").permissions().mode() & 0o777;
    assert_eq!(mode("key"), 0o600);
    assert_eq!(mode("tile/entries/000") & 0o007, 0);
    assert_eq!(mode("") & 0o007, 0);
    let public = fs::read_to_string(path.join("key.pub")).expect("text");
    assert!(public.starts_with("homeport/h1+") && public.ends_with('\n'), "{public}");
    let names =
        fs::read_dir(path.join("tile/entries")).expect("names").map(|name| name.expect("one").file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["000", "001", "002", "002.p", "003.p"], "of the last checkpoint and the one before");
}

#[test]
fn entries_go_when_they_are_old_or_too_many_and_never_the_last_bundle() {
    let directory = tempfile::tempdir().expect("a directory");
    let shared = Shared::new(directory.path());
    let ledger = Ledger::new(Arc::clone(&shared));
    let (mut store, _) = open(RealDisk, Vec::new(), "homeport/h1", shared, WallTime(0)).expect("opens");
    let entries: Vec<Arc<str>> = (0..1_030).map(record).collect();
    store.append(&entries, WallTime(0)).expect("works");
    store.publish(WallTime(0)).expect("works");
    let now = WallTime::from_unix_seconds(1_030 * 86_400);
    let plenty = 1 << 40;
    for (days, bytes, expected) in [
        (2_000, plenty, None),
        (1_000, plenty, None),
        (700, plenty, Some(256)),
        (1, plenty, Some(1_024)),
        (2_000, 900_000, Some(256)),
        (2_000, 1, Some(1_024)),
    ] {
        let due = Retention { days, bytes }.due(&ledger, now);
        assert_eq!(due, expected.map(|first| Pruning { first }), "{days} days, {bytes} bytes");
    }
    store.prune(512).expect("works");
    assert_eq!(Retention { days: 700, bytes: plenty }.due(&ledger, now), None);
    assert_eq!(Retention { days: 1, bytes: plenty }.due(&ledger, now), Some(Pruning { first: 1_024 }));
}
