//! Whatever fails and whenever the host dies: what was accepted is there, in order, and everything that was signed can
//! be verified.

use std::{path::Path, sync::Arc};

use proptest::prelude::*;
use tlog_tiles::{Hash, Tile, node_hash, record_hash};

use super::fake::{Dice, Fake, Fault};
use crate::{
    clock::WallTime,
    ledger::{
        Found, Ledger, Page, Shared, Source as _, Store,
        bundle::{self, MAX_BUNDLE_BYTES},
        disk::Disk as _,
        head::Head,
        key::{Key, Loaded},
        open, pack,
        path::{self, WIDTH},
    },
};

pub(super) const DIRECTORY: &str = "/d/ledger";
pub(super) const COPIES: [&str; 2] = ["/d/state.head", "/d/run.head"];
const NOW: WallTime = WallTime(1_700_000_000_000_000_000);

/// A ledger on the fake disk.
pub(super) struct Lab {
    pub(super) store: Store<Fake>,
    pub(super) ledger: Ledger,
    pub(super) found: Found,
}

impl Lab {
    pub(super) fn open(fake: &Fake) -> std::io::Result<Self> {
        let reader = fake.clone();
        let shared = Shared::with(Path::new(DIRECTORY), Box::new(move |path| reader.read(path)));
        let ledger = Ledger::new(Arc::clone(&shared));
        let copies = COPIES.map(Into::into).to_vec();
        let (store, found) = open(fake.clone(), copies, "homeport/h1", shared, NOW)?;
        Ok(Self { store, ledger, found })
    }

    pub(super) fn append(&mut self, entries: &[Arc<str>]) -> std::io::Result<()> {
        self.store.append(entries, NOW)
    }

    pub(super) fn publish(&mut self) -> std::io::Result<()> {
        self.store.publish(NOW)
    }

    /// Packs what there is to pack, until it fails.
    fn pack(&mut self) {
        while self.store.is_packable() && self.store.pack().is_ok() {}
    }

    /// Everything that readers see.
    pub(super) fn entries(&self) -> std::io::Result<Vec<Arc<str>>> {
        let size = *self.ledger.size().borrow();
        let mut next = self.ledger.first();
        let mut entries = Vec::new();
        while next < size {
            // Uneven pages: they end within bundles.
            let page = self.ledger.read(next, Page { entries: 100, bytes: 5_000 })?;
            assert!(!page.is_empty(), "a page from {next} of {size}");
            for entry in page {
                assert_eq!(entry.index, next);
                next += 1;
                entries.push(entry.record);
            }
        }
        Ok(entries)
    }
}

pub(super) fn entry(number: u64) -> Arc<str> {
    format!("{{\"time\":{number},\"filler\":\"{}\"}}", "x".repeat((number % 50) as usize)).into()
}

pub(super) fn entries(numbers: std::ops::Range<u64>) -> Vec<Arc<str>> {
    numbers.map(entry).collect()
}

/// The definition of RFC 6962, section 2.1.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => tlog_tiles::EMPTY_HASH,
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            node_hash(root(&leaves[..split]), root(&leaves[split..]))
        }
    }
}

/// Reads what is published as the specification says, and compares it with what it should be. Returns its size.
pub(super) fn verify(fake: &Fake, expected: &[Arc<str>], first: u64) -> u64 {
    let directory = Path::new(DIRECTORY);
    let read = |name: &str| fake.bytes(&directory.join(name)).unwrap_or_else(|| panic!("{name} is missing"));
    let Ok(Loaded::Key(key)) = Key::load(fake, &directory.join("key")) else { panic!("no key") };
    let head = Head::verified(&read("checkpoint"), &key).expect("a signed checkpoint");
    assert_eq!(read("key.pub"), format!("{}\n", key.verifier_key(&head.origin)).as_bytes());
    let mut level: Vec<Hash> =
        expected[..head.size as usize].iter().map(|entry| record_hash(entry.as_bytes())).collect();
    assert_eq!(head.root, root(&level), "root of {}", head.size);
    for (number, chunk) in (0_u64..).zip(expected[..head.size as usize].chunks(WIDTH as usize)) {
        if number * WIDTH >= first {
            let plain = fake.bytes(&directory.join(path::entries(number, chunk.len() as u64)));
            let bytes = plain.or_else(|| pack::unpack(&read(&path::packed(number)), MAX_BUNDLE_BYTES));
            assert_eq!(bundle::decode(&bytes.expect("a bundle")).as_deref(), Some(chunk));
        }
    }
    let mut height = 0;
    while !level.is_empty() {
        let mut above = Vec::new();
        for (number, chunk) in (0_u64..).zip(level.chunks(WIDTH as usize)) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|hash| hash.0).collect();
            assert_eq!(
                read(&path::hashes(height, number, chunk.len() as u64)),
                bytes,
                "level {height}, {number}"
            );
            if chunk.len() as u64 == WIDTH {
                above.push(Tile::subtree_hash(&bytes));
            }
        }
        level = above;
        height += 1;
    }
    head.size
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    Publish,
    Pack,
    Prune(u64),
    Fail(u32, u32),
    Room(usize),
    Heal,
    /// The process is killed after so many further operations, if it gets that far.
    Kill(u32),
    /// The power is cut then.
    Cut(u32, u64),
    /// The next agent dies while it opens the ledger.
    CutTwice(u32, u32, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop_oneof![9 => 1_u64..20, 3 => 100_u64..300, 1 => 500_u64..700].prop_map(Step::Append),
        3 => Just(Step::Publish),
        1 => Just(Step::Pack),
        1 => (0_u64..600).prop_map(Step::Prune),
        2 => (0_u32..30, 1_u32..4).prop_map(|(after, times)| Step::Fail(after, times)),
        1 => (0_usize..30_000).prop_map(Step::Room),
        1 => Just(Step::Heal),
        2 => (0_u32..60).prop_map(Step::Kill),
        3 => (0_u32..60, any::<u64>()).prop_map(|(after, seed)| Step::Cut(after, seed)),
        1 => (0_u32..60, 0_u32..60, any::<u64>()).prop_map(|(after, then, seed)| Step::CutTwice(after, then, seed)),
    ];
    prop::collection::vec(step, 1..30)
}

/// What has to be there.
#[derive(Default)]
struct Model {
    accepted: Vec<Arc<str>>,
    /// The batch that was not accepted last: some of it may be found after a crash.
    refused: Vec<Arc<str>>,
    next: u64,
}

impl Model {
    fn append(&mut self, lab: &mut Lab, count: u64) {
        let batch = entries(self.next..self.next + count);
        self.next += count;
        match lab.append(&batch) {
            Ok(()) => {
                self.accepted.extend(batch);
                self.refused.clear();
            }
            Err(_) => self.refused = batch,
        }
    }

    /// A new agent opens what is there.
    fn reopen(&mut self, fake: &Fake) -> Lab {
        let lab = Lab::open(fake).expect("nothing fails");
        assert_eq!((&lab.found.lost, &lab.found.missing, lab.found.stranded), (&None, &Vec::new(), 0));
        let first = lab.ledger.first() as usize;
        let found = lab.entries().expect("readable");
        let known = self.accepted.len().saturating_sub(first);
        assert!(found.len() >= known, "{} of {known} entries", found.len());
        assert_eq!(found[..known], self.accepted[first..], "what was accepted");
        let more = &found[known..];
        assert!(self.refused.starts_with(more), "{} more than were tried", more.len());
        self.accepted.extend(more.iter().cloned());
        self.refused.clear();
        assert_eq!(verify(fake, &self.accepted, lab.ledger.first()), self.accepted.len() as u64);
        lab
    }
}

proptest! {
    // Each is a life of a ledger with some deaths, so there are fewer than of others, unless PROPTEST_CASES says how many.
    // One that fails is made smaller for a minute: each attempt is such a life, and there is no end of them.
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_time: 60_000, ..ProptestConfig::default() })]

    #[test]
    fn what_was_accepted_is_there_whatever_fails_and_whoever_dies(steps in steps()) {
        play(steps);
    }
}

/// Cases that were found by the test above, and are too rare to wait for.
#[test]
fn what_is_appended_after_an_agent_died_before_it_wrote_a_header_is_there() {
    // The journal is there, and empty: the first one of all, and that of the bundle after a full one.
    play(vec![Step::Kill(1), Step::Kill(3)]);
    play(vec![Step::Append(255), Step::Kill(4), Step::Kill(3)]);
    // The journal is there, but its name is not durable: the agent was killed before it synced the directory.
    play(vec![Step::Kill(3), Step::Append(1), Step::Cut(0, 883_048_270_492_227_780)]);
    // The power was cut before the header was durable, and again before anybody could do anything about it.
    play(vec![Step::Append(1), Step::CutTwice(10, 0, 16_187_773_436_912_217_493), Step::Kill(3)]);
}

fn play(steps: Vec<Step>) {
    let fake = Fake::default();
    let mut model = Model::default();
    let mut lab = model.reopen(&fake);
    for step in steps {
        match step {
            Step::Append(count) => model.append(&mut lab, count),
            Step::Publish => {
                if lab.publish().is_ok() {
                    let size = verify(&fake, &model.accepted, lab.ledger.first());
                    assert_eq!(size, model.accepted.len() as u64);
                }
            }
            Step::Pack => lab.pack(),
            Step::Prune(first) => drop(lab.store.prune(first)),
            Step::Fail(after, times) => fake.set(Fault::Fail(after, times)),
            Step::Room(bytes) => fake.set_room(Some(bytes)),
            Step::Heal => fake.kill(),
            Step::Kill(after) => {
                fake.set(Fault::Die(after));
                model.append(&mut lab, 3);
                let _ = lab.publish();
                lab.pack();
                fake.kill();
                lab = model.reopen(&fake);
            }
            Step::Cut(after, seed) => {
                fake.set(Fault::Die(after));
                model.append(&mut lab, 3);
                let _ = lab.publish();
                lab.pack();
                fake.cut_power(&mut Dice(seed));
                lab = model.reopen(&fake);
            }
            Step::CutTwice(after, then, seed) => {
                let mut dice = Dice(seed);
                fake.set(Fault::Die(after));
                model.append(&mut lab, 300);
                let _ = lab.publish();
                lab.pack();
                fake.cut_power(&mut dice);
                fake.set(Fault::Die(then));
                let _ = Lab::open(&fake);
                fake.cut_power(&mut dice);
                lab = model.reopen(&fake);
            }
        }
        // Readers see what was accepted and nothing else; a disk that fails may fail them, too.
        fake.kill();
        let first = lab.ledger.first() as usize;
        assert_eq!(lab.entries().expect("readable"), model.accepted[first..]);
    }
}

/// Every moment at which an agent can die while it appends, fills a bundle and signs; and the agent after it, which
/// appends to what it has found, dies before it signs that.
#[test]
fn the_power_may_be_cut_between_any_two_writes() {
    let base = Fake::default();
    let mut model = Model::default();
    let mut lab = model.reopen(&base);
    model.append(&mut lab, 250);
    lab.publish().expect("works");
    let mut died = true;
    let mut after = 0;
    while died {
        for seed in 0..4 {
            let fake = base.copy();
            let mut model = Model { next: 250, accepted: entries(0..250), refused: Vec::new() };
            let mut lab = model.reopen(&fake);
            fake.set(Fault::Die(after));
            died = dies(&mut model, &mut lab);
            match seed {
                // The host goes on.
                0 => fake.kill(),
                _ => fake.cut_power(&mut Dice(seed * 7_919 + u64::from(after))),
            }
            let mut lab = model.reopen(&fake);
            model.append(&mut lab, 3);
            assert_eq!(model.refused, [], "nothing fails");
            model.reopen(&fake);
        }
        after += 1;
    }
    assert!(after > 60, "{after} operations");
}

/// Every moment at which an agent can die while it packs three bundles.
#[test]
fn a_bundle_is_plain_or_packed_whenever_the_power_is_cut() {
    let base = Fake::default();
    let mut model = Model::default();
    let mut lab = model.reopen(&base);
    model.append(&mut lab, 4 * WIDTH + 9);
    lab.publish().expect("works");
    let plain = lab.ledger.status().bytes;
    for after in 0..60 {
        for seed in 0..6 {
            let fake = base.copy();
            let mut model = Model { next: 2_000, accepted: model.accepted.clone(), refused: Vec::new() };
            let mut lab = model.reopen(&fake);
            fake.set(Fault::Die(after));
            lab.pack();
            match seed {
                0 => fake.kill(),
                _ => fake.cut_power(&mut Dice(seed * 7_919 + u64::from(after))),
            }
            let mut lab = model.reopen(&fake);
            lab.pack();
            assert!(!lab.store.is_packable());
            let packed = lab.ledger.status().bytes;
            assert!(packed < plain, "{packed} of {plain}");
            let lab = model.reopen(&fake);
            assert_eq!(lab.ledger.status().bytes, packed, "counted the same");
            let names: Vec<_> =
                fake.files().into_iter().filter(|path| path.ends_with("entries/002")).collect();
            assert_eq!(names, [] as [std::path::PathBuf; 0]);
        }
    }
}

#[test]
fn a_damaged_bundle_is_not_packed_and_its_neighbours_are() {
    let fake = Fake::default();
    let mut model = Model::default();
    let mut lab = model.reopen(&fake);
    model.append(&mut lab, 4 * WIDTH);
    lab.publish().expect("works");
    let path = Path::new(DIRECTORY).join(path::entries(1, WIDTH));
    let mut bytes = fake.bytes(&path).expect("there");
    bytes[100] ^= 1;
    fake.put(&path, bytes.clone());
    lab.pack();
    assert_eq!(fake.bytes(&path), Some(bytes), "as it was");
    for (number, is_packed) in [(0, true), (1, false), (2, true), (3, false)] {
        let packed = fake.bytes(&Path::new(DIRECTORY).join(path::packed(number)));
        assert_eq!(packed.is_some(), is_packed, "bundle {number}");
    }
    let page = Page { entries: 1_000, bytes: usize::MAX };
    assert_eq!(lab.ledger.read(2 * WIDTH, page).expect("behind it")[0].record, model.accepted[512]);
    // Retention takes both forms.
    lab.store.prune(3 * WIDTH).expect("works");
    let left: Vec<_> =
        fake.files().into_iter().filter(|path| path.to_string_lossy().contains("entries")).collect();
    assert_eq!(left, [Path::new(DIRECTORY).join(path::entries(3, WIDTH))]);
}

/// Every moment at which the first agent can be killed: what it has not synced is there, and looks durable. The next one
/// goes on with that, and then the power is cut.
#[test]
fn what_a_killed_agent_has_not_synced_is_synced_by_the_next_one() {
    let mut died = true;
    let mut after = 0;
    while died {
        for seed in 0..4 {
            let fake = Fake::default();
            fake.set(Fault::Die(after));
            let mut model = Model::default();
            died = Lab::open(&fake).map_or(true, |mut lab| dies(&mut model, &mut lab));
            fake.kill();
            let mut lab = model.reopen(&fake);
            // Its bundle becomes a file, and the journal goes.
            model.append(&mut lab, 256);
            lab.publish().expect("works");
            fake.cut_power(&mut Dice(seed * 7_919 + u64::from(after)));
            model.reopen(&fake);
        }
        after += 1;
    }
    assert!(after > 60, "{after} operations");
}

/// Appends and signs, across the end of a bundle, until the agent dies.
fn dies(model: &mut Model, lab: &mut Lab) -> bool {
    [1, 4, 3].into_iter().any(|count| {
        model.append(lab, count);
        !model.refused.is_empty() || lab.publish().is_err()
    })
}
