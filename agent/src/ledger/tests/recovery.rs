//! What becomes of a ledger whose files were damaged, removed or put back.

use std::path::{Path, PathBuf};

use super::{
    fake::Fake,
    model::{COPIES, DIRECTORY, Lab, entries, entry, verify},
};

fn file(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Two full bundles and a half, signed; and some entries that are durable and not signed.
fn lab() -> Fake {
    let fake = Fake::default();
    let mut lab = Lab::open(&fake).expect("opens");
    for start in 0..10 {
        lab.append(&entries(start * 64..(start + 1) * 64)).expect("works");
        lab.publish().expect("works");
    }
    lab.append(&entries(640..650)).expect("works");
    fake
}

const SIZE: usize = 650;

fn check_whole(fake: &Fake, what: &str) {
    let mut lab = Lab::open(fake).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(lab.found.lost, None, "{what}");
    assert_eq!(lab.entries().expect("readable"), entries(0..SIZE as u64), "{what}");
    assert_eq!(verify(fake, &entries(0..SIZE as u64), 0), SIZE as u64, "{what}");
    check_goes_on(fake, &mut lab, what);
}

/// What is appended to a ledger that was repaired can be found, though no checkpoint signs it.
fn check_goes_on(fake: &Fake, lab: &mut Lab, what: &str) {
    let size = lab.ledger.status().size;
    lab.append(&entries(size..size + 2)).expect("works");
    let lab = Lab::open(fake).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(lab.found.unsigned, 2, "{what}");
    assert_eq!(lab.entries().expect("readable"), entries(0..size + 2), "{what}");
}

/// Each file that the head depends on is there twice.
#[test]
fn any_one_file_of_the_edge_may_be_missing_or_damaged() {
    let base = lab();
    let key = base.bytes(&file("key")).expect("a key");
    for path in base.files() {
        let name = path
            .strip_prefix(DIRECTORY)
            .map_or_else(|_| path.display().to_string(), |name| name.display().to_string());
        let is_old =
            ["tile/entries/000", "tile/entries/001", "tile/0/000", "tile/0/001"].contains(&name.as_str());
        if name == "key" || is_old {
            continue;
        }
        let length = base.bytes(&path).expect("there").len();
        // What no checkpoint has signed is in the journal alone; the copies are of the same head.
        let unsigned_begins = if name == "open/2" { journal_of_signed() } else { length };
        for at in (0..unsigned_begins).step_by(61).chain([unsigned_begins - 1]) {
            let fake = base.copy();
            let mut bytes = fake.bytes(&path).expect("there");
            bytes[at] ^= 1 << (at % 8);
            fake.put(&path, bytes);
            check_whole(&fake, &format!("bit flipped in {name} at {at}"));
        }
        for at in (unsigned_begins..length).step_by(13) {
            let fake = base.copy();
            let mut bytes = fake.bytes(&path).expect("there");
            bytes[at] ^= 1 << (at % 8);
            fake.put(&path, bytes);
            check_signed(&fake, &format!("bit flipped in {name} at {at}"));
        }
        for cut in (0..length).step_by(211) {
            let fake = base.copy();
            let mut bytes = fake.bytes(&path).expect("there");
            bytes.truncate(cut);
            fake.put(&path, bytes);
            let what = format!("{name} cut at {cut}");
            if name == "open/2" { check_signed(&fake, &what) } else { check_whole(&fake, &what) }
        }
        let fake = base.copy();
        fake.delete(&path);
        if name == "open/2" {
            check_signed(&fake, "no journal");
        } else {
            check_whole(&fake, &format!("no {name}"));
        }
    }
    assert_eq!(base.bytes(&file("key")), Some(key), "the key stays");
}

fn journal_of_signed() -> usize {
    24 + entries(512..640).iter().map(|entry| entry.len() + 10).sum::<usize>()
}

/// Everything that was signed is there; of what was not, a part.
fn check_signed(fake: &Fake, what: &str) {
    let mut lab = Lab::open(fake).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(lab.found.lost, None, "{what}");
    let found = lab.entries().expect("readable");
    assert!(found.len() >= 640, "{what}: {}", found.len());
    assert_eq!(found, entries(0..found.len() as u64), "{what}");
    let lost = SIZE - found.len();
    assert!(lab.found.stranded as usize <= lost, "{what}: {} of {lost}", lab.found.stranded);
    verify(fake, &found, 0);
    check_goes_on(fake, &mut lab, what);
}

/// A batch across two bundles was refused; the agent died while it took that back.
#[test]
fn what_was_refused_is_not_found_behind_later_entries() {
    let fake = Fake::default();
    let mut lab = Lab::open(&fake).expect("opens");
    lab.append(&entries(0..300)).expect("works");
    let rest = fake.bytes(&file("open/1")).expect("there");
    let fake = Fake::default();
    let mut lab = Lab::open(&fake).expect("opens");
    lab.append(&entries(0..10)).expect("works");
    fake.put(&file("open/1"), rest);
    let mut lab = Lab::open(&fake).expect("opens");
    lab.append(&entries(10..256)).expect("works");
    let lab = Lab::open(&fake).expect("opens");
    assert_eq!(lab.ledger.status().size, 256);
    assert_eq!(lab.entries().expect("readable"), entries(0..256));
}

#[test]
fn an_old_checkpoint_is_noticed_by_the_copies_and_the_ledger_goes_on_whole() {
    let fake = Fake::default();
    let mut lab = Lab::open(&fake).expect("opens");
    lab.append(&entries(0..300)).expect("works");
    lab.publish().expect("works");
    let old = fake.bytes(&file("checkpoint")).expect("there");
    lab.append(&entries(300..600)).expect("works");
    lab.publish().expect("works");
    fake.put(&file("checkpoint"), old);
    let lab = Lab::open(&fake).expect("opens");
    assert_eq!(lab.found.lost, None);
    assert!(!lab.found.repaired.is_empty(), "it is told");
    assert_eq!(lab.entries().expect("readable"), entries(0..600));
}

#[test]
fn an_old_ledger_put_back_is_set_aside_and_another_one_begun() {
    let fake = Fake::default();
    let mut lab = Lab::open(&fake).expect("opens");
    lab.append(&entries(0..300)).expect("works");
    lab.publish().expect("works");
    let old = fake.copy();
    lab.append(&entries(300..301)).expect("works");
    lab.publish().expect("works");
    let key = fake.bytes(&file("key")).expect("a key");
    // All of the ledger, but not the copies of its head.
    for path in old.files() {
        if !COPIES.contains(&path.to_str().expect("text")) {
            fake.put(&path, old.bytes(&path).expect("there"));
        }
    }
    for path in fake.files() {
        if old.bytes(&path).is_none() {
            fake.delete(&path);
        }
    }
    let mut lab = Lab::open(&fake).expect("opens");
    let lost = lab.found.lost.clone().expect("it is noticed");
    assert_eq!((lost.cause, lost.origin.as_str(), lost.size), ("rolled-back", "homeport/h1", 301));
    assert_eq!(lab.ledger.status().origin, "homeport/h1/2");
    assert_eq!(fake.bytes(&file("key")), Some(key), "whoever knows the key still knows who signs");
    assert!(fake.bytes(&file("quarantine/1/tile/entries/000")).is_some(), "what is left is kept");
    lab.append(&[entry(9)]).expect("works");
    lab.publish().expect("works");
    // It does not happen again.
    let lab = Lab::open(&fake).expect("opens");
    assert_eq!(lab.found.lost, None);
    assert!(lab.found.has_quarantine);
    assert_eq!(lab.entries().expect("readable"), [entry(9)]);
    verify(&fake, &[entry(9)], 0);
}

#[test]
fn what_cannot_be_put_together_is_set_aside_whatever_is_missing() {
    let cases: [(&[&str], &str); 5] = [
        (&["key"], "key-lost"),
        (&["checkpoint", "/d/state.head", "/d/run.head"], "head-lost"),
        (&["tile", "open"], "damaged"),
        (&["open", "tile/entries/002.p"], "damaged"),
        (&["open", "tile/entries/002.p", "checkpoint"], "rolled-back"),
    ];
    for (missing, cause) in cases {
        let fake = lab();
        for name in missing {
            fake.delete(&file(name));
        }
        let mut lab = Lab::open(&fake).expect("opens");
        assert_eq!(lab.found.lost.as_ref().map(|lost| lost.cause), Some(cause), "{missing:?}");
        assert_eq!(lab.ledger.status().origin, "homeport/h1/2", "{missing:?}");
        lab.append(&entries(0..3)).expect("works");
        lab.publish().expect("works");
        let lab = Lab::open(&fake).expect("opens");
        assert_eq!(lab.found.lost, None, "{missing:?}");
        assert_eq!(lab.entries().expect("readable"), entries(0..3));
    }
}

#[test]
fn a_damaged_key_begins_another_ledger_and_is_kept_aside() {
    let fake = lab();
    let mut bytes = fake.bytes(&file("key")).expect("a key");
    bytes[60] ^= 1;
    fake.put(&file("key"), bytes.clone());
    let lab = Lab::open(&fake).expect("opens");
    assert_eq!(lab.found.lost.map(|lost| (lost.cause, lost.size)), Some(("key-lost", 640)));
    assert_eq!(fake.bytes(&file("quarantine/1/key")), Some(bytes));
}

#[test]
fn a_missing_bundle_is_told_and_the_rest_can_be_read() {
    let fake = lab();
    fake.delete(&file("tile/entries/001"));
    let lab = Lab::open(&fake).expect("opens");
    assert_eq!(lab.found.missing, [(256, 512)]);
    assert_eq!(lab.found.lost, None);
    use crate::ledger::{Page, Source as _};
    let page = Page { entries: 1_000, bytes: usize::MAX };
    assert_eq!(lab.ledger.read(0, page).expect("before").len(), 256);
    let error = lab.ledger.read(300, page).expect_err("missing");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(lab.ledger.read(512, page).expect("behind").len(), SIZE - 512);
}

#[test]
fn a_reader_is_not_given_what_was_not_signed() {
    let fake = lab();
    let path = file("tile/entries/001");
    let bytes = fake.bytes(&path).expect("there");
    for at in (0..bytes.len()).step_by(101) {
        let mut changed = bytes.clone();
        changed[at] ^= 2;
        fake.put(&path, changed);
        let lab = Lab::open(&fake).expect("opens");
        let error = lab.entries().expect_err("damaged");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "byte {at}");
    }
}

#[test]
fn pruning_removes_whole_bundles_and_everything_else_can_still_be_proven() {
    let fake = lab();
    let mut lab = Lab::open(&fake).expect("opens");
    let before = lab.ledger.status().bytes;
    lab.store.prune(300).expect("works");
    let status = lab.ledger.status();
    assert_eq!(status.first, 256);
    assert!(status.bytes < before);
    assert_eq!(fake.bytes(&file("tile/entries/000")), None);
    assert_eq!(fake.bytes(&file("minimum-index")), Some(b"256\n".to_vec()));
    let all = entries(0..SIZE as u64);
    verify(&fake, &all, 256);
    let lab = Lab::open(&fake).expect("opens");
    assert_eq!((lab.ledger.status().first, lab.found.missing.len()), (256, 0));
    assert_eq!(lab.entries().expect("readable"), all[256..]);
    use crate::ledger::{Page, Source as _};
    let error = lab.ledger.read(0, Page { entries: 1, bytes: 1 }).expect_err("pruned");
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}
