//! Signed notes: keys, checkpoints, and what witnesses add to them.
//!
//! C2SP signed-note, tlog-checkpoint and tlog-cosignature, of which this knows the Ed25519 kinds: 0x01, by which a
//! log signs, and 0x04, by which a witness says when it saw a checkpoint. Lines by other keys are kept and not
//! judged, as the specification asks.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use super::{format::decimal, merkle::Hash};

/// The largest note that is read, in bytes. A checkpoint with a hundred signatures is smaller.
pub const MAX_NOTE_BYTES: usize = 1 << 16;

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 over the text of the note.
    Log,
    /// Ed25519 over a time and the text: a cosignature, version 1.
    Witness,
}

impl Algorithm {
    const fn byte(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Witness => 4,
        }
    }
}

/// A public key with its name, as `<name>+<id>+<base64>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    name: String,
    id: u32,
    algorithm: Algorithm,
    key: VerifyingKey,
}

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not of the form.
    #[error("a verifier key has the form <name>+<8 hexadecimal digits>+<base64>")]
    Form,
    /// The middle part is not the one that the rest gives.
    #[error("the key id is {found:08x}, name and key give {expected:08x}: it was copied wrongly")]
    Id {
        /// What name and key give.
        expected: u32,
        /// What is written.
        found: u32,
    },
    /// Another kind of key.
    #[error("keys of type {0} are not supported, only 1 (Ed25519) and 4 (Ed25519 cosignatures)")]
    Algorithm(u8),
    /// No point of the curve.
    #[error("the 32 bytes of the key are no Ed25519 public key")]
    Point,
}

impl Key {
    /// Reads a verifier key.
    ///
    /// # Errors
    ///
    /// When it is none, or one of another kind.
    pub fn parse(text: &str) -> Result<Self, KeyFault> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyFault::Form);
        };
        if !is_name(name) || id.len() != 8 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(KeyFault::Form);
        }
        let found = u32::from_str_radix(id, 16).map_err(|_| KeyFault::Form)?;
        let key = BASE64_STANDARD.decode(key).map_err(|_| KeyFault::Form)?;
        let (algorithm, point) = key.split_first().ok_or(KeyFault::Form)?;
        let algorithm = match algorithm {
            1 => Algorithm::Log,
            4 => Algorithm::Witness,
            other => return Err(KeyFault::Algorithm(*other)),
        };
        let point: &[u8; 32] = point.try_into().map_err(|_| KeyFault::Form)?;
        let key = Self::new(name, algorithm, VerifyingKey::from_bytes(point).map_err(|_| KeyFault::Point)?);
        if key.id != found {
            return Err(KeyFault::Id { expected: key.id, found });
        }
        Ok(key)
    }

    fn new(name: &str, algorithm: Algorithm, key: VerifyingKey) -> Self {
        let mut hash = Sha256::new();
        hash.update(name);
        hash.update(b"\n");
        hash.update([algorithm.byte()]);
        hash.update(key.as_bytes());
        let [a, b, c, d, ..]: [u8; 32] = hash.finalize().into();
        Self { name: name.to_owned(), id: u32::from_be_bytes([a, b, c, d]), algorithm, key }
    }

    /// Whose it is: the origin for a log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it signs.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether both are the same key, whatever they are called.
    pub fn is_same_point(&self, other: &Self) -> bool {
        self.key == other.key
    }

    fn is_author_of(&self, line: &SignatureLine) -> bool {
        self.name == line.name && self.id == line.id
    }

    /// The time of a valid cosignature, 0 for a valid signature of a log; none when it is not valid.
    fn judge(&self, text: &str, signature: &[u8]) -> Option<u64> {
        let (time, message, signature) = match self.algorithm {
            Algorithm::Log => (0, text.as_bytes().to_vec(), signature),
            Algorithm::Witness => {
                let (time, signature) = signature.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                if i64::try_from(time).is_err() {
                    return None;
                }
                (time, cosigned(text, time), signature)
            }
        };
        let signature = Signature::from_slice(signature).ok()?;
        self.key.verify_strict(&message, &signature).ok()?;
        Some(time)
    }
}

/// As a verifier key.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.algorithm.byte()], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{:08x}+{}", self.name, self.id, BASE64_STANDARD.encode(key))
    }
}

/// What a witness signs.
fn cosigned(text: &str, time: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|letter: char| letter.is_whitespace() || letter == '+' || letter < ' ')
}

/// A witness's private key.
pub struct Cosigner {
    key: Key,
    secret: SigningKey,
}

impl Cosigner {
    /// From 32 random bytes; none for a name that the formats cannot carry.
    pub fn new(name: &str, seed: &[u8; 32]) -> Option<Self> {
        if !is_name(name) {
            return None;
        }
        let secret = SigningKey::from_bytes(seed);
        Some(Self { key: Key::new(name, Algorithm::Witness, secret.verifying_key()), secret })
    }

    /// Reads [`Self::to_text`] back.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.trim().strip_prefix("PRIVATE+KEY+")?.split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let key = BASE64_STANDARD.decode(key).ok()?;
        let (algorithm, seed) = key.split_first()?;
        let cosigner = Self::new(name, seed.try_into().ok()?)?;
        (*algorithm == 4 && id == format!("{:08x}", cosigner.key.id)).then_some(cosigner)
    }

    /// The private key as one line, in the form that signed-note tools use.
    pub fn to_text(&self) -> String {
        let key = [&[4], self.secret.to_bytes().as_slice()].concat();
        format!("PRIVATE+KEY+{}+{:08x}+{}", self.key.name, self.key.id, BASE64_STANDARD.encode(key))
    }

    /// The public key.
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// The signature line for a note's text at this time, seconds since 1970.
    pub fn cosign(&self, text: &str, time: u64) -> SignatureLine {
        use ed25519_dalek::Signer as _;
        let signature = self.secret.sign(&cosigned(text, time));
        let bytes = [time.to_be_bytes().as_slice(), &signature.to_bytes()].concat();
        SignatureLine { name: self.key.name.clone(), id: self.key.id, bytes }
    }
}

impl fmt::Debug for Cosigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cosigner({})", self.key)
    }
}

/// A line below a note, valid or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    name: String,
    id: u32,
    bytes: Vec<u8>,
}

impl SignatureLine {
    /// Reads a line without its newline.
    pub fn parse(line: &str) -> Option<Self> {
        let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let bytes = BASE64_STANDARD.decode(signature).ok()?;
        let (id, signature) = bytes.split_first_chunk::<4>()?;
        if !is_name(name) || signature.is_empty() {
            return None;
        }
        Some(Self { name: name.to_owned(), id: u32::from_be_bytes(*id), bytes: signature.to_vec() })
    }

    /// Who is said to have signed.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// With its newline.
impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.id.to_be_bytes().as_slice(), &self.bytes].concat();
        writeln!(f, "\u{2014} {} {}", self.name, BASE64_STANDARD.encode(bytes))
    }
}

/// What a key says of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// It signed. The time is a witness's, seconds since 1970; 0 for a log.
    Valid(u64),
    /// A line bears its name, and is not by it.
    Invalid,
    /// It did not sign.
    Absent,
}

/// A checkpoint with whatever signatures are below it. Nothing in it is to be believed before [`Self::by`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose log.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
    /// The signed text.
    pub text: String,
    /// The signatures.
    pub signatures: Vec<SignatureLine>,
}

/// Why bytes are no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteFault {
    /// Too large.
    #[error("larger than {MAX_NOTE_BYTES} bytes")]
    TooLarge,
    /// Not text.
    #[error("byte {0} is not part of UTF-8 text without control characters")]
    Text(usize),
    /// No signatures.
    #[error("there is no empty line followed by signatures")]
    NoSignatures,
    /// A line that is no signature.
    #[error("line {0} is no signature line")]
    Signature(usize),
    /// The text is not that of a checkpoint.
    #[error("line {line} is not {expected}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What belongs there.
        expected: &'static str,
    },
}

impl Checkpoint {
    /// Reads a checkpoint; judges no signature.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteFault> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteFault::TooLarge);
        }
        let note = std::str::from_utf8(bytes).map_err(|error| NoteFault::Text(error.valid_up_to()))?;
        if let Some(at) = bytes.iter().position(|byte| *byte < b' ' && *byte != b'\n') {
            return Err(NoteFault::Text(at));
        }
        let (body, below) = note.rsplit_once("\n\n").ok_or(NoteFault::NoSignatures)?;
        let text = format!("{body}\n");
        let below = below.strip_suffix('\n').ok_or(NoteFault::NoSignatures)?;
        let first = text.lines().count() + 2;
        let signatures = below
            .split('\n')
            .enumerate()
            .map(|(at, line)| SignatureLine::parse(line).ok_or(NoteFault::Signature(first + at)))
            .collect::<Result<Vec<_>, _>>()?;

        let mut lines = body.split('\n');
        let fault = |line, expected| NoteFault::Line { line, expected };
        let origin = lines.next().filter(|line| !line.is_empty()).ok_or(fault(1, "an origin"))?.to_owned();
        let size =
            lines.next().and_then(decimal).ok_or(fault(2, "a tree size in decimal without leading zeros"))?;
        let root = lines.next().and_then(Hash::parse).ok_or(fault(3, "a root hash, 32 bytes in base64"))?;
        if let Some(at) = lines.position(str::is_empty) {
            return Err(fault(4 + at, "an extension: those are not empty"));
        }
        Ok(Self { origin, size, root, text, signatures })
    }

    /// What `key` says of it. A key that signed twice must have done so twice.
    pub fn by(&self, key: &Key) -> Signed {
        let mut said = Signed::Absent;
        for line in self.signatures.iter().filter(|line| key.is_author_of(line)) {
            match key.judge(&self.text, &line.bytes) {
                Some(time) => said = Signed::Valid(time),
                None => return Signed::Invalid,
            }
        }
        said
    }

    /// The lines by this key.
    pub fn lines_by<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = &'a SignatureLine> {
        self.signatures.iter().filter(|line| key.is_author_of(line))
    }

    /// The whole note.
    pub fn to_note(&self) -> String {
        let mut note = format!("{}\n", self.text);
        for line in &self.signatures {
            note.push_str(&line.to_string());
        }
        note
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification of checkpoints; its key is that of the example of signed notes' tools.
    const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

    #[test]
    fn the_example_of_the_specification_is_read_and_written_back() {
        let checkpoint = Checkpoint::parse(EXAMPLE.as_bytes()).expect("made for this test");
        assert_eq!(
            (checkpoint.origin.as_str(), checkpoint.size),
            ("example.com/behind-the-sofa", 20_852_163)
        );
        assert_eq!(checkpoint.root.to_string(), "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=");
        assert_eq!(checkpoint.to_note(), EXAMPLE);
    }

    #[test]
    fn the_example_of_signed_notes_is_by_its_key_and_no_other() {
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let parsed = Key::parse(key).expect("made for this test");
        assert_eq!(parsed.to_string(), key);
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
        let line = SignatureLine::parse(
            "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=",
        )
        .expect("made for this test");
        assert_eq!(parsed.judge(text, &line.bytes), Some(0));
        assert_eq!(parsed.judge(&text.replace("answer", "Answer"), &line.bytes), None);
    }

    #[test]
    fn keys_that_were_copied_wrongly_are_refused() {
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert!(matches!(Key::parse(&key.replace("c74f", "c74e")), Err(KeyFault::Id { .. })));
        assert!(matches!(Key::parse(&key.replace("Peter", "Pete")), Err(KeyFault::Id { .. })));
        assert_eq!(Key::parse("PeterNeumann+c74f20a3"), Err(KeyFault::Form));
        assert_eq!(Key::parse("x+00000000+Ag=="), Err(KeyFault::Algorithm(2)));
        assert_eq!(Key::parse(""), Err(KeyFault::Form));
    }

    #[test]
    fn a_cosignature_is_valid_for_its_text_and_time_only() {
        let cosigner = Cosigner::new("witness.example/w1", &[7; 32]).expect("made for this test");
        let again = Cosigner::parse(&cosigner.to_text()).expect("made for this test");
        assert_eq!(again.key(), cosigner.key());
        let key = Key::parse(&cosigner.key().to_string()).expect("made for this test");
        let mut checkpoint = Checkpoint::parse(EXAMPLE.as_bytes()).expect("made for this test");
        assert_eq!(checkpoint.by(&key), Signed::Absent);
        let line = cosigner.cosign(&checkpoint.text, 1_679_315_147);
        checkpoint
            .signatures
            .push(SignatureLine::parse(line.to_string().trim_end()).expect("made for this test"));
        let mut read = Checkpoint::parse(checkpoint.to_note().as_bytes()).expect("made for this test");
        assert_eq!(read.by(&key), Signed::Valid(1_679_315_147));
        read.signatures[1].bytes[7] ^= 1;
        assert_eq!(read.by(&key), Signed::Invalid);
    }

    #[test]
    fn what_is_no_checkpoint_says_which_line() {
        let check = |note: &str, fault: NoteFault| {
            assert_eq!(Checkpoint::parse(note.as_bytes()), Err(fault), "{note:?}");
        };
        check("", NoteFault::NoSignatures);
        check("a\n1\n", NoteFault::NoSignatures);
        check(
            &EXAMPLE.replace("20852163", "020852163"),
            NoteFault::Line { line: 2, expected: "a tree size in decimal without leading zeros" },
        );
        check(
            &EXAMPLE.replace("CsUY", "CsU"),
            NoteFault::Line { line: 3, expected: "a root hash, 32 bytes in base64" },
        );
        check(&EXAMPLE.replace("\u{2014} ", "- "), NoteFault::Signature(5));
        check(&EXAMPLE.replace("behind-the", "behind\tthe"), NoteFault::Text(18));
    }
}
