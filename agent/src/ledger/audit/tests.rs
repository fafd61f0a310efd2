//! The whole audit against ledgers of another writer, sound and damaged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::{
    export::export,
    fixture::{ReferenceLedger, record},
    merkle::{Hash, root},
    note::{Checkpoint, Cosigner, Key},
    policy::Policy,
    proof::Proof,
    reader::{MINIMUM_INDEX, Reader, Tree, WITNESSED},
    verify::{Options, Report, verify},
};

const ORIGIN: &str = "homeport/test-host";

/// A ledger of so many records, published every `step`.
fn ledger(directory: &Path, size: u64, step: u64) -> ReferenceLedger {
    let mut ledger = ReferenceLedger::new(directory, ORIGIN);
    ledger.publish();
    for sequence in 1..=size {
        ledger.append(record(sequence).as_bytes());
        if sequence % step == 0 || sequence == size {
            ledger.publish();
        }
    }
    ledger
}

fn options(key: &str) -> Options {
    Options { keys: vec![Key::parse(key).expect("made for this test")], ..Options::default() }
}

fn audit(directory: &Path, options: &Options) -> Report {
    verify(&Reader::open(directory).expect("made for this test"), options, &mut |_, _| {})
}

/// What is wrong, as a person reads it.
fn wrong(directory: &Path, key: &str) -> Vec<String> {
    let report = audit(directory, &options(key));
    let problems: Vec<_> = report
        .problems
        .iter()
        .filter(|problem| problem.weight == super::Weight::Wrong)
        .map(ToString::to_string)
        .collect();
    assert_eq!(report.wrong, problems.len() as u64);
    problems
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("made for this test") {
        let path = entry.expect("made for this test").path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn flip(path: &Path, byte: usize, bit: u8) {
    let mut bytes = fs::read(path).expect("made for this test");
    bytes[byte] ^= 1 << bit;
    fs::write(path, bytes).expect("made for this test");
}

#[test]
fn sound_ledgers_of_every_shape_are_verified() {
    for size in [0, 1, 2, 255, 256, 257, 512, 700, 1000] {
        let directory = tempfile::tempdir().expect("made for this test");
        let ledger = ledger(directory.path(), size, 100);
        let report = audit(directory.path(), &options(&ledger.key));
        assert!(report.is_verified() && report.notes == 0, "{size}: {:#?}", report.problems);
        assert_eq!((report.entries, report.size), (size, Some(size)));
        assert_eq!(report.sequences, (size > 0).then_some((1, size)));
    }
}

#[test]
fn a_ledger_with_three_levels_of_tiles_is_verified() {
    let directory = tempfile::tempdir().expect("made for this test");
    let ledger = ledger(directory.path(), 66_000, 30_000);
    let report = audit(directory.path(), &options(&ledger.key));
    assert!(report.is_verified(), "{:#?}", report.problems);
    // 258 tiles of level 0, two of level 1, one of level 2.
    assert_eq!(report.tiles, 257 + 1 + 1 + 1 + 1);
    assert_eq!(report.entries, 66_000);
}

#[test]
fn without_a_key_the_ledgers_own_word_is_taken_and_told() {
    let directory = tempfile::tempdir().expect("made for this test");
    ledger(directory.path(), 3, 3);
    let report = audit(directory.path(), &Options::default());
    assert!(report.is_verified() && !report.key_was_given);
    assert!(report.problems[0].to_string().contains("no key was given"), "{:#?}", report.problems);
}

#[test]
fn another_ledgers_key_is_refused() {
    let directory = tempfile::tempdir().expect("made for this test");
    ledger(directory.path(), 3, 3);
    let other = ReferenceLedger::new(
        &tempfile::tempdir().expect("made for this test").path().join("other"),
        "homeport/other",
    )
    .key;
    let problems = wrong(directory.path(), &other);
    assert!(problems.iter().any(|problem| problem.contains("no signature by the key")), "{problems:#?}");
    assert!(problems.iter().any(|problem| problem.contains("not the key that was given")), "{problems:#?}");
}

#[test]
fn a_changed_entry_is_named_with_its_file_and_byte() {
    let directory = tempfile::tempdir().expect("made for this test");
    let ledger = ledger(directory.path(), 600, 600);
    let bundle = directory.path().join("tile/entries/001");
    let text = fs::read(&bundle).expect("made for this test");
    let needle = b"record 300 of this host";
    let at = text.windows(needle.len()).position(|window| window == needle).expect("made for this test");
    flip(&bundle, at + 8, 0);
    let problems = wrong(directory.path(), &ledger.key);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].starts_with("tile/entries/001, byte "), "{}", problems[0]);
    assert!(
        problems[0].contains("entry 299: the entry is not the one whose hash is signed for"),
        "{}",
        problems[0]
    );
}

#[test]
fn a_changed_hash_tile_is_told_apart_from_a_changed_entry() {
    let directory = tempfile::tempdir().expect("made for this test");
    let ledger = ledger(directory.path(), 66_000, 66_000);
    for (file, entry) in
        [("tile/0/001", 256 + 3), ("tile/0/257.p/208", 257 * 256 + 3), ("tile/1/000", 3 * 256)]
    {
        let path = directory.path().join(file);
        flip(&path, 3 * 32 + 5, 1);
        let problems = wrong(directory.path(), &ledger.key);
        assert_eq!(problems.len(), 1, "{file}: {problems:#?}");
        let start = format!("{file}, byte 96, entry {entry}: this hash is wrong");
        assert!(problems[0].starts_with(&start), "{problems:#?}");
        flip(&path, 3 * 32 + 5, 1);
    }
}

#[test]
fn a_missing_file_is_named_and_the_rest_is_still_checked() {
    for file in [
        "tile/0/001",
        "tile/entries/001",
        "tile/0/002.p/88",
        "tile/1/000.p/2",
        "tile/entries/002.p/88",
        "checkpoint",
    ] {
        let directory = tempfile::tempdir().expect("made for this test");
        let ledger = ledger(directory.path(), 600, 600);
        fs::remove_file(directory.path().join(file)).expect("made for this test");
        let problems = wrong(directory.path(), &ledger.key);
        assert_eq!(problems.len(), 1, "{file}: {problems:#?}");
        assert!(
            problems[0].starts_with(file) && problems[0].contains("the file is missing"),
            "{problems:#?}"
        );
    }
}

#[test]
fn all_that_is_wrong_is_told_not_only_the_first() {
    let directory = tempfile::tempdir().expect("made for this test");
    let ledger = ledger(directory.path(), 1000, 1000);
    flip(&directory.path().join("tile/entries/000"), 40, 0);
    flip(&directory.path().join("tile/0/001"), 40, 0);
    fs::remove_file(directory.path().join("tile/entries/002")).expect("made for this test");
    fs::write(directory.path().join("tile/entries/x001"), "").expect("made for this test");
    let problems = wrong(directory.path(), &ledger.key);
    for part in [
        "tile/entries/000, byte 2, entry 0",
        "tile/0/001, byte 32, entry 257",
        "tile/entries/002, entry 512",
        "tile/entries/x001: no tile",
    ] {
        assert!(problems.iter().any(|problem| problem.starts_with(part)), "{part}: {problems:#?}");
    }
}

#[test]
fn a_rewritten_ledger_does_not_have_the_signed_root() {
    // Somebody without the key makes another ledger, tiles and all, below the signed checkpoint.
    let directory = tempfile::tempdir().expect("made for this test");
    let ledger = ledger(directory.path(), 600, 600);
    let signed = fs::read(directory.path().join("checkpoint")).expect("made for this test");
    let forged = tempfile::tempdir().expect("made for this test");
    let mut other = ReferenceLedger::new(forged.path(), ORIGIN);
    for sequence in 1..=600 {
        let mut text = record(sequence);
        if sequence == 17 {
            text = text.replace("record", "nothing");
        }
        other.append(text.as_bytes());
    }
    other.publish();
    fs::write(forged.path().join("checkpoint"), signed).expect("made for this test");
    let problems = wrong(forged.path(), &ledger.key);
    assert!(problems[0].starts_with("checkpoint: the tiles do not give the root"), "{problems:#?}");
}

#[test]
fn an_edited_checkpoint_is_not_by_its_key() {
    let directory = tempfile::tempdir().expect("made for this test");
    let ledger = ledger(directory.path(), 600, 300);
    let path = directory.path().join("checkpoint");
    let text = fs::read_to_string(&path).expect("made for this test");
    fs::write(&path, text.replace("\n600\n", "\n300\n")).expect("made for this test");
    let problems = wrong(directory.path(), &ledger.key);
    assert!(
        problems.iter().any(|problem| problem.contains("the signature is not by the key")),
        "{problems:#?}"
    );
}

#[test]
fn a_huge_size_in_a_forged_checkpoint_does_not_take_for_ever() {
    let directory = tempfile::tempdir().expect("made for this test");
    let ledger = ledger(directory.path(), 600, 600);
    let path = directory.path().join("checkpoint");
    let text = fs::read_to_string(&path).expect("made for this test");
    fs::write(&path, text.replace("\n600\n", "\n18446744073709551615\n")).expect("made for this test");
    let report = audit(directory.path(), &options(&ledger.key));
    assert!(!report.is_verified());
}

#[test]
fn entries_may_be_removed_from_the_front_only_when_an_entry_says_so() {
    let directory = tempfile::tempdir().expect("made for this test");
    let mut ledger = ledger(directory.path(), 600, 600);
    for file in ["tile/entries/000", "tile/0/000"] {
        fs::remove_file(directory.path().join(file)).expect("made for this test");
    }
    assert_eq!(wrong(directory.path(), &ledger.key).len(), 2);
    fs::write(directory.path().join(MINIMUM_INDEX), "300\n").expect("made for this test");
    let problems = wrong(directory.path(), &ledger.key);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("no entry says that they may be"), "{problems:#?}");
    let retention =
        record(601).replace(r#""schema":1,"#, r#""schema":1,"event":"retention","first_kept":300,"#);
    ledger.append(retention.as_bytes());
    ledger.publish();
    assert_eq!(wrong(directory.path(), &ledger.key), [""; 0]);
    // What may be removed is what ends before the minimum, not more.
    fs::remove_file(directory.path().join("tile/entries/001")).expect("made for this test");
    assert_eq!(wrong(directory.path(), &ledger.key).len(), 1);
}

#[test]
fn files_beyond_the_checkpoint_are_told_as_a_note() {
    let directory = tempfile::tempdir().expect("made for this test");
    let mut ledger = ledger(directory.path(), 300, 300);
    let signed = fs::read(directory.path().join("checkpoint")).expect("made for this test");
    for sequence in 301..=600 {
        ledger.append(record(sequence).as_bytes());
    }
    ledger.publish();
    fs::write(directory.path().join("checkpoint"), signed).expect("made for this test");
    let report = audit(directory.path(), &options(&ledger.key));
    assert!(report.is_verified(), "{:#?}", report.problems);
    assert!(report.problems[0].to_string().contains("beyond the checkpoint"), "{:#?}", report.problems);
    assert_eq!(report.entries, 300);
}

#[test]
fn an_older_partial_tile_has_to_be_the_beginning_of_the_newer_one() {
    let directory = tempfile::tempdir().expect("made for this test");
    let ledger = ledger(directory.path(), 600, 100);
    for file in ["tile/0/000.p/100", "tile/entries/002.p/88"] {
        assert!(directory.path().join(file).exists());
    }
    flip(&directory.path().join("tile/0/000.p/100"), 64, 0);
    let problems = wrong(directory.path(), &ledger.key);
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].contains("tile/0/000.p/100, byte 64, entry 2: this is not the beginning"),
        "{problems:#?}"
    );
}

#[test]
fn what_witnesses_have_seen_must_be_the_beginning_of_what_is_there() {
    let directory = tempfile::tempdir().expect("made for this test");
    let mut ledger = ledger(directory.path(), 300, 300);
    let cosigner = Cosigner::new("witness.example", &[3; 32]).expect("made for this test");
    let mut head = Checkpoint::parse(&ledger.checkpoint()).expect("made for this test");
    head.signatures.push(cosigner.cosign(&head.text, 1_767_000_000));
    fs::write(directory.path().join(WITNESSED), head.to_note()).expect("made for this test");
    for sequence in 301..=400 {
        ledger.append(record(sequence).as_bytes());
    }
    ledger.publish();
    let policy = format!("log {}\nwitness w {}\nquorum w\n", ledger.key, cosigner.key());
    let options =
        Options { policy: Some(Policy::parse(&policy).expect("made for this test")), ..Options::default() };
    let report = audit(directory.path(), &options);
    assert!(report.is_verified(), "{:#?}", report.problems);
    assert_eq!(report.witnessed.as_ref().map(|seen| seen.size), Some(300));
    assert!(
        report.problems[0].to_string().contains("the last 100 nobody has seen yet"),
        "{:#?}",
        report.problems
    );

    // An old state is put back: the checkpoint of 100 entries is genuine, and the witness has seen more.
    let old = tempfile::tempdir().expect("made for this test");
    self::ledger(old.path(), 100, 100);
    fs::copy(directory.path().join(WITNESSED), old.path().join(WITNESSED)).expect("made for this test");
    let report = audit(old.path(), &options);
    assert!(report.problems[0].to_string().contains("an old state was put back"), "{:#?}", report.problems);

    // Without the witness's word the policy is not met.
    fs::remove_file(directory.path().join(WITNESSED)).expect("made for this test");
    assert!(
        audit(directory.path(), &options).problems[0].to_string().contains("not enough of the witnesses")
    );
}

#[test]
fn a_proof_shows_its_entry_and_no_other() {
    let directory = tempfile::tempdir().expect("made for this test");
    let ledger = ledger(directory.path(), 700, 700);
    let reader = Reader::open(directory.path()).expect("made for this test");
    let checkpoint = Checkpoint::parse(&ledger.checkpoint()).expect("made for this test");
    for index in [0, 255, 256, 699] {
        let proof = Proof::make(&reader, checkpoint.clone(), index).expect("made for this test");
        let read = Proof::parse(proof.to_text().as_bytes()).expect("made for this test");
        assert_eq!(read, proof);
        assert!(read.shows(record(index + 1).as_bytes()) && !read.shows(record(index + 2).as_bytes()));
    }
    assert!(Proof::make(&reader, checkpoint, 700).is_err());
}

#[test]
fn evidence_is_verified_without_the_ledger_and_a_change_in_it_is_found() {
    for (size, period) in
        [(1000, 300..700), (1000, 0..1000), (66_000, 400..500), (66_000, 65_900..66_000), (512, 0..256)]
    {
        let directory = tempfile::tempdir().expect("made for this test");
        let ledger = ledger(directory.path(), size, size);
        let reader = Reader::open(directory.path()).expect("made for this test");
        let checkpoint = Checkpoint::parse(&ledger.checkpoint()).expect("made for this test");
        let out = tempfile::tempdir().expect("made for this test");
        let exported = export(&reader, &checkpoint, period.clone(), "2026-01-01T00:00:00Z", out.path())
            .expect("made for this test");
        assert_eq!(exported.proofs, if period.start == 0 { vec![] } else { vec![0] });
        let problems = wrong(out.path(), &ledger.key);
        assert_eq!(problems, [""; 0], "{size} {period:?}");
        let report = audit(out.path(), &options(&ledger.key));
        assert_eq!((report.first, report.end), (period.start, period.end));
        assert!(report.entries >= period.end - period.start);

        let lines = fs::read_to_string(out.path().join("entries.jsonl")).expect("made for this test");
        assert_eq!(lines.lines().count() as u64, period.end - period.start);
        assert_eq!(lines.lines().next(), Some(record(period.start + 1).as_str()));
        for file in files(out.path()) {
            if file.file_name().is_some_and(|name| name == "README.md" || name == "key.pub") {
                continue;
            }
            let middle = fs::metadata(&file).expect("made for this test").len() as usize / 2;
            flip(&file, middle, 0);
            assert!(
                Reader::open(out.path()).is_err() || !wrong(out.path(), &ledger.key).is_empty(),
                "{} was changed",
                file.display()
            );
            flip(&file, middle, 0);
        }
    }
}

#[test]
fn evidence_of_what_was_not_signed_is_refused_with_the_name_of_the_file() {
    let directory = tempfile::tempdir().expect("made for this test");
    let ledger = ledger(directory.path(), 66_000, 66_000);
    let reader = Reader::open(directory.path()).expect("made for this test");
    let checkpoint = Checkpoint::parse(&ledger.checkpoint()).expect("made for this test");
    let made = |period: std::ops::Range<u64>| {
        let out = tempfile::tempdir().expect("made for this test");
        let exported = export(&reader, &checkpoint, period, "", out.path());
        assert!(exported.is_ok() || !out.path().join("checkpoint").exists(), "it must not look finished");
        exported
    };
    for file in ["tile/entries/004", "tile/0/004", "tile/1/000", "tile/1/001.p/1", "tile/2/000.p/1"] {
        let path = directory.path().join(file);
        let middle = fs::metadata(&path).expect("made for this test").len() as usize / 2;
        flip(&path, middle, 0);
        let error = made(1_100..1_300).expect_err(file);
        assert!(error.is_damage() && error.to_string().contains(file), "{error}");
        flip(&path, middle, 0);
    }
    // In the bundles that are looked through for the policy.
    flip(&directory.path().join("tile/entries/002"), 100, 0);
    let error = made(1_100..1_300).expect_err("it could have been another policy").to_string();
    assert!(error.starts_with("tile/entries/002, byte 2, entry 512: the entry is not the one"), "{error}");
    // Of what lies elsewhere nothing is said.
    assert!(made(0..500).is_ok());

    let full = directory.path().join("tile/entries/004");
    let bundle = fs::read(&full).expect("made for this test");
    fs::write(&full, &bundle[..bundle.len() - 1]).expect("made for this test");
    assert!(made(1_100..1_300).expect_err("it is torn").is_damage());
    fs::remove_file(&full).expect("made for this test");
    assert!(made(1_100..1_300).expect_err("it is gone").is_damage());
}

#[test]
fn evidence_for_what_is_not_there_is_refused() {
    let directory = tempfile::tempdir().expect("made for this test");
    let ledger = ledger(directory.path(), 10, 10);
    let reader = Reader::open(directory.path()).expect("made for this test");
    let checkpoint = Checkpoint::parse(&ledger.checkpoint()).expect("made for this test");
    let out = tempfile::tempdir().expect("made for this test");
    for period in [0..11, 4..4, 10..12] {
        assert!(export(&reader, &checkpoint, period, "", out.path()).is_err());
    }
    fs::write(out.path().join("x"), "").expect("made for this test");
    assert!(
        export(&reader, &checkpoint, 0..5, "", out.path())
            .expect_err("refused")
            .to_string()
            .contains("not empty")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn roots_of_all_earlier_sizes_come_out_of_the_tiles(size in 1u64..900, step in 1u64..300) {
        let directory = tempfile::tempdir().expect("made for this test");
        let _ledger = ledger(directory.path(), size, step);
        let reader = Reader::open(directory.path()).expect("made for this test");
        let leaves: Vec<Hash> = (1..=size).map(|sequence| Hash::leaf(record(sequence).as_bytes())).collect();
        for old in [0, size / 3, size / 2, size] {
            let found = root(&mut Tree::new(&reader, size), old).expect("made for this test");
            prop_assert_eq!(found, super::merkle::fold(&leaves[..old as usize]));
        }
    }

    #[test]
    fn any_flipped_bit_is_found(size in 1u64..800, file in any::<usize>(), at in any::<usize>(), bit in 0u8..8) {
        let directory = tempfile::tempdir().expect("made for this test");
        let ledger = ledger(directory.path(), size, 250);
        prop_assert_eq!(wrong(directory.path(), &ledger.key), Vec::<String>::new());
        let files = files(directory.path());
        let file = &files[file % files.len()];
        flip(file, at % fs::metadata(file).expect("made for this test").len() as usize, bit);
        // A space for a newline at the end of the key is no other key.
        let is_same_key = file.ends_with("key.pub")
            && Key::parse(&String::from_utf8_lossy(&fs::read(file).expect("made for this test"))) == Key::parse(&ledger.key);
        prop_assert!(is_same_key || !wrong(directory.path(), &ledger.key).is_empty(), "{}", file.display());
    }

    #[test]
    fn any_cut_is_found(size in 1u64..800, file in any::<usize>(), at in any::<usize>()) {
        let directory = tempfile::tempdir().expect("made for this test");
        let ledger = ledger(directory.path(), size, 250);
        let files = files(directory.path());
        let file = &files[file % files.len()];
        let bytes = fs::read(file).expect("made for this test");
        fs::write(file, &bytes[..at % bytes.len()]).expect("made for this test");
        let is_same_key = file.ends_with("key.pub") && at % bytes.len() == bytes.len() - 1;
        prop_assert!(is_same_key || !wrong(directory.path(), &ledger.key).is_empty(), "{}", file.display());
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Checkpoint::parse(&bytes);
        let _ = Proof::parse(&bytes);
        let _ = super::format::bundle(&bytes);
        let _ = Policy::parse(&String::from_utf8_lossy(&bytes));
        let _ = Key::parse(&String::from_utf8_lossy(&bytes));
    }
}
