//! A small writer of ledgers for tests, made of Cloudflare's `tlog_tiles` and `signed_note`: neither the agent's writer
//! nor the auditor's code. `homeport-tests` includes this file too.

use std::{
    fs,
    path::{Path, PathBuf},
};

use signed_note::{Note, StandardSigner};
use tlog_tiles::{Checkpoint, Error, Hash, HashReader, Tile};

/// Hashes as `tlog_tiles` numbers them.
#[derive(Default)]
struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

/// A ledger in a directory.
pub struct ReferenceLedger {
    directory: PathBuf,
    origin: String,
    signer: StandardSigner,
    /// The verifier key.
    pub key: String,
    stored: Stored,
    size: u64,
    published: u64,
    /// Entries of the bundle that is not full, each with its length.
    bundle: Vec<u8>,
}

impl ReferenceLedger {
    /// A ledger without entries, and a key made from the origin.
    pub fn new(directory: &Path, origin: &str) -> Self {
        fs::create_dir_all(directory).expect("made for this test");
        let mut random = Seeded(
            origin.bytes().fold(1u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte))),
        );
        let (private, key) = signed_note::generate_key(&mut random, origin);
        fs::write(directory.join("key.pub"), format!("{key}\n")).expect("made for this test");
        Self {
            directory: directory.to_owned(),
            origin: origin.to_owned(),
            signer: StandardSigner::new(&private).expect("made for this test"),
            key,
            stored: Stored::default(),
            size: 0,
            published: 0,
            bundle: Vec::new(),
        }
    }

    /// How many entries there are.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends an entry; [`Self::publish`] signs for it.
    pub fn append(&mut self, entry: &[u8]) {
        let hashes = tlog_tiles::stored_hashes(self.size, entry, &self.stored).expect("made for this test");
        self.stored.0.extend(hashes);
        self.bundle.extend_from_slice(&u16::try_from(entry.len()).expect("made for this test").to_be_bytes());
        self.bundle.extend_from_slice(entry);
        self.size += 1;
        if self.size.is_multiple_of(256) {
            let bundle = std::mem::take(&mut self.bundle);
            self.write(&path("entries", self.size / 256 - 1, 256), &bundle);
        }
    }

    /// Writes the tiles since the last time and a checkpoint.
    pub fn publish(&mut self) {
        for tile in Tile::new_tiles(8, self.published, self.size) {
            let bytes = tile.read_data(&self.stored).expect("made for this test");
            self.write(&path(&tile.level().to_string(), tile.level_index(), tile.width()), &bytes);
        }
        if !self.bundle.is_empty() {
            self.write(&path("entries", self.size / 256, (self.size % 256) as u32), &self.bundle.clone());
        }
        self.published = self.size;
        self.write("checkpoint", &self.checkpoint());
    }

    /// The signed head.
    pub fn checkpoint(&self) -> Vec<u8> {
        let root = tlog_tiles::tree_hash(self.size, &self.stored).expect("made for this test");
        let text = Checkpoint::new(&self.origin, self.size, root, "").expect("made for this test").to_bytes();
        let mut note = Note::new(&text, &[]).expect("made for this test");
        note.add_sigs(&[&self.signer]).expect("made for this test");
        note.to_bytes()
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.directory.join(path);
        fs::create_dir_all(path.parent().expect("made for this test")).expect("made for this test");
        fs::write(path, bytes).expect("made for this test");
    }
}

fn path(kind: &str, index: u64, width: u32) -> String {
    let mut number = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        number = format!("x{:03}/{number}", rest % 1000);
        rest /= 1000;
    }
    let partial = if width == 256 { String::new() } else { format!(".p/{width}") };
    format!("tile/{kind}/{number}{partial}")
}

/// A record as the agent writes one each minute, and now and then another one, with its number.
pub fn record(sequence: u64) -> String {
    let time = 1_767_225_600_000 + sequence * 60_000;
    let (class, what) = if sequence == 1 {
        (6002, r#""event":"start","policy_hash":"0123456789abcdef","policies":["default"]"#.to_owned())
    } else if sequence.is_multiple_of(53) {
        (
            2004,
            format!(
                r#""kind":"transfer","rule":"not-approved","transition":"open","bytes":{{"wire":{sequence}}}"#
            ),
        )
    } else {
        (
            4001,
            format!(r#""bytes":{{"wire":{},"payload":{sequence},"packets":9}},"classes":[]"#, sequence * 977),
        )
    };
    format!(
        r#"{{"class_uid":{class},"time":{time},"message":"record {sequence} of this host","metadata":{{"version":"1.8.0","product":{{"name":"homeport","vendor_name":"homeport","version":"0.1.0"}},"profiles":["host"],"uid":"h1:i1:{sequence}","sequence":{sequence},"logged_time":{time}}},"device":{{"hostname":"storage-1","uid":"5d1c0b6f9f0e4d0a8f6f3c2b1a000001","type_id":0}},"unmapped":{{"homeport":{{"schema":1,{what}}}}}}}"#
    )
}

/// Keys of tests are the same in each run.
struct Seeded(u64);

impl rand_core::RngCore for Seeded {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl rand_core::CryptoRng for Seeded {}
