//! What a record says it is, without the rest of it.

use serde::Deserialize;

/// See the module. What is absent is none.
#[derive(Debug, Deserialize)]
pub struct Glance {
    /// Class of OCSF.
    pub class_uid: Option<u64>,
    /// For people.
    pub message: Option<String>,
    unmapped: Option<Unmapped>,
}

#[derive(Debug, Deserialize)]
struct Unmapped {
    homeport: Option<Extra>,
}

#[derive(Debug, Deserialize)]
struct Extra {
    event: Option<String>,
    kind: Option<String>,
}

impl Glance {
    /// None for an entry that is no record.
    pub fn at(entry: &[u8]) -> Option<Self> {
        serde_json::from_slice(entry).ok()
    }

    fn extra(&self) -> Option<&Extra> {
        self.unmapped.as_ref()?.homeport.as_ref()
    }

    /// What happened, of a lifecycle record.
    pub fn event(&self) -> Option<&str> {
        self.extra()?.event.as_deref()
    }

    /// The kind of a finding.
    pub fn kind(&self) -> Option<&str> {
        self.extra()?.kind.as_deref()
    }
}
