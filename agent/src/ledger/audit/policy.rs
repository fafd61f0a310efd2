//! Which logs and witnesses are trusted, and how many of them must have seen a checkpoint: C2SP tlog-policy.

use std::collections::{HashMap, HashSet};

use super::{
    format::decimal,
    note::{Algorithm, Checkpoint, Key, Signed},
};

/// A witness of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its name in the policy.
    pub name: String,
    /// Its key.
    pub key: Key,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The logs; empty when they are known from elsewhere.
    pub logs: Vec<Key>,
    /// The witnesses.
    pub witnesses: Vec<Witness>,
    quorum: Quorum,
}

/// A rule over names, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Quorum {
    None,
    Witness(usize),
    Group(usize, Vec<Quorum>),
}

/// Why a file is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PolicyFault {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// Who of a policy has seen a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Enough of them.
    pub quorum: bool,
    /// Names, with the time of their word in seconds since 1970.
    pub by: Vec<(String, u64)>,
    /// Names under which there is a signature that is not theirs.
    pub forged: Vec<String>,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    ///
    /// At its first fault.
    pub fn parse(text: &str) -> Result<Self, PolicyFault> {
        let mut logs: Vec<Key> = Vec::new();
        let mut witnesses: Vec<Witness> = Vec::new();
        let mut defined: HashMap<String, Quorum> = HashMap::new();
        let mut members: HashSet<String> = HashSet::new();
        let mut quorum = None;
        let mut count = 0;
        for (at, line) in text.split('\n').enumerate() {
            count = at + 1;
            let fault = |what: String| PolicyFault { line: at + 1, what };
            if line.contains(|letter: char| letter.is_ascii_control() && letter != '\t') {
                return Err(fault("control characters are not allowed".to_owned()));
            }
            let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            let read_key = |text: &str, algorithm: Algorithm, whose: &str| {
                let key = Key::parse(text).map_err(|error| fault(error.to_string()))?;
                if key.algorithm() != algorithm {
                    return Err(fault(format!("the key is not of the kind that a {whose} signs with")));
                }
                Ok(key)
            };
            match words.as_slice() {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["log", key] | ["log", key, _] => {
                    let key = read_key(key, Algorithm::Log, "log")?;
                    if logs.iter().any(|log| log.is_same_point(&key)) {
                        return Err(fault("this log was there before".to_owned()));
                    }
                    logs.push(key);
                }
                ["witness", name, key] | ["witness", name, key, _] => {
                    let key = read_key(key, Algorithm::Witness, "witness")?;
                    if witnesses.iter().any(|witness| witness.key.is_same_point(&key)) {
                        return Err(fault("this key was there before".to_owned()));
                    }
                    define(&mut defined, name, Quorum::Witness(witnesses.len())).map_err(fault)?;
                    witnesses.push(Witness { name: (*name).to_owned(), key });
                }
                ["group", name, threshold, names @ ..] if !names.is_empty() => {
                    let mut rules = Vec::new();
                    for member in names {
                        let rule = defined
                            .get(*member)
                            .ok_or_else(|| fault(format!("{member} is not defined above")))?;
                        if !members.insert((*member).to_owned()) {
                            return Err(fault(format!("{member} is a member of a group already")));
                        }
                        rules.push(rule.clone());
                    }
                    let threshold = match *threshold {
                        "all" => rules.len(),
                        "any" => 1,
                        number => decimal(number)
                            .and_then(|number| usize::try_from(number).ok())
                            .filter(|number| (1..=rules.len()).contains(number))
                            .ok_or_else(|| {
                                fault(format!("{number} is neither all, any, nor 1 to {}", rules.len()))
                            })?,
                    };
                    define(&mut defined, name, Quorum::Group(threshold, rules)).map_err(fault)?;
                }
                ["quorum", name] => {
                    if quorum.is_some() {
                        return Err(fault("there is a quorum already".to_owned()));
                    }
                    quorum = Some(match *name {
                        "none" => Quorum::None,
                        name => defined
                            .get(name)
                            .cloned()
                            .ok_or_else(|| fault(format!("{name} is not defined above")))?,
                    });
                }
                [word, ..] => {
                    return Err(fault(format!(
                        "{word:?} does not begin one of: log VKEY, witness NAME VKEY, group NAME K NAME..., quorum NAME"
                    )));
                }
            }
        }
        let quorum =
            quorum.ok_or_else(|| PolicyFault { line: count, what: "there is no quorum line".to_owned() })?;
        Ok(Self { logs, witnesses, quorum })
    }

    /// Who of the witnesses has signed it.
    pub fn judge(&self, checkpoint: &Checkpoint) -> Seen {
        let mut seen = Seen::default();
        let mut signed = HashSet::new();
        for (at, witness) in self.witnesses.iter().enumerate() {
            match checkpoint.by(&witness.key) {
                Signed::Valid(time) => {
                    signed.insert(at);
                    seen.by.push((witness.name.clone(), time));
                }
                Signed::Invalid => seen.forged.push(witness.name.clone()),
                Signed::Absent => {}
            }
        }
        seen.quorum = self.quorum.holds(&signed);
        seen
    }

    /// Whether it asks for no witness.
    pub fn asks_for_none(&self) -> bool {
        self.quorum == Quorum::None
    }
}

impl Quorum {
    fn holds(&self, signed: &HashSet<usize>) -> bool {
        match self {
            Self::None => true,
            Self::Witness(at) => signed.contains(at),
            Self::Group(threshold, members) => {
                members.iter().filter(|member| member.holds(signed)).count() >= *threshold
            }
        }
    }
}

fn define(defined: &mut HashMap<String, Quorum>, name: &str, rule: Quorum) -> Result<(), String> {
    if name == "none" {
        return Err("none is not a name".to_owned());
    }
    match defined.insert(name.to_owned(), rule) {
        Some(_) => Err(format!("{name} is defined already")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::audit::note::Cosigner;

    fn cosigner(number: u8) -> Cosigner {
        Cosigner::new(&format!("witness.example/w{number}"), &[number; 32]).expect("made for this test")
    }

    fn policy(groups: &str) -> String {
        let mut text = "# who we trust\n".to_owned();
        for number in 1..=3 {
            text.push_str(&format!("witness w{number} {}\n", cosigner(number).key()));
        }
        text + groups
    }

    fn seen_by(numbers: &[u8]) -> Checkpoint {
        let note =
            "log.example\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\u{2014} log.example AAAAAAE=\n";
        let mut checkpoint = Checkpoint::parse(note.as_bytes()).expect("made for this test");
        for number in numbers {
            checkpoint.signatures.push(cosigner(*number).cosign(&checkpoint.text, 1000 + u64::from(*number)));
        }
        checkpoint
    }

    #[test]
    fn a_quorum_counts_groups_and_witnesses() {
        let text = policy("group two 2 w1 w2\ngroup both all two w3\nquorum both\n");
        let policy = Policy::parse(&text).expect("made for this test");
        for (numbers, quorum) in [(&[1, 2, 3][..], true), (&[1, 2], false), (&[1, 3], false), (&[], false)] {
            let seen = policy.judge(&seen_by(numbers));
            assert_eq!(seen.quorum, quorum, "{numbers:?}");
            assert_eq!(seen.by.len(), numbers.len());
        }
    }

    #[test]
    fn no_quorum_asks_for_nobody() {
        let policy = Policy::parse("quorum none\n").expect("made for this test");
        assert!(policy.asks_for_none() && policy.judge(&seen_by(&[])).quorum);
    }

    #[test]
    fn a_signature_under_a_borrowed_name_is_told() {
        let policy = Policy::parse(&policy("quorum w1\n")).expect("made for this test");
        let mut checkpoint = seen_by(&[1]);
        checkpoint.text = checkpoint.text.replace("\n1\n", "\n2\n");
        let seen = policy.judge(&checkpoint);
        assert_eq!((seen.quorum, seen.forged), (false, vec!["w1".to_owned()]));
    }

    #[test]
    fn faults_name_their_line() {
        for (groups, line) in [
            ("", 5),
            ("quorum w4\n", 5),
            ("quorum none\nquorum none\n", 6),
            ("group g 3 w1 w2\n", 5),
            ("group g any w1\ngroup h any w1\n", 6),
            ("group none any w1\n", 5),
            ("group w1 any w2\n", 5),
            ("logs x\n", 5),
        ] {
            assert_eq!(Policy::parse(&policy(groups)).map_err(|fault| fault.line), Err(line), "{groups}");
        }
    }
}
