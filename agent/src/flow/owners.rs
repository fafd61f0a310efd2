//! One shared copy per distinct owner, found without reading the owner.
//!
//! An owner carries a command line of up to 4 KiB. Hashing that for every flow of every sweep would cost more
//! than the sweep itself, so the table compares owners by address: equal owners are first made the same `Arc`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::flow::Owner;

/// Below this number of known addresses nothing is cleaned up.
const MIN_CLEANUP: usize = 4_096;

/// Makes equal owners the same `Arc`.
#[derive(Debug)]
pub(crate) struct Owners {
    /// By address of the `Arc` as it was given. The given `Arc` is kept, so its address cannot be used again.
    by_address: HashMap<usize, (Arc<Owner>, Arc<Owner>)>,
    by_content: HashSet<Arc<Owner>>,
    cleanup_at: usize,
}

impl Owners {
    pub(crate) fn new() -> Self {
        Self { by_address: HashMap::new(), by_content: HashSet::new(), cleanup_at: MIN_CLEANUP }
    }

    /// The shared copy of `owner`.
    pub(crate) fn share(&mut self, owner: &Arc<Owner>) -> Arc<Owner> {
        let address = Arc::as_ptr(owner) as usize;
        if let Some((_, shared)) = self.by_address.get(&address) {
            return Arc::clone(shared);
        }
        let shared = match self.by_content.get(owner) {
            Some(known) => Arc::clone(known),
            None => {
                self.by_content.insert(Arc::clone(owner));
                Arc::clone(owner)
            }
        };
        self.by_address.insert(address, (Arc::clone(owner), Arc::clone(&shared)));
        shared
    }

    /// True when it is time for [`Self::keep_only`].
    pub(crate) fn wants_cleanup(&self) -> bool {
        self.by_address.len() >= self.cleanup_at
    }

    /// Forgets everyone but these (already shared) owners.
    pub(crate) fn keep_only<'a>(&mut self, in_use: impl Iterator<Item = &'a Arc<Owner>>) {
        self.by_address.clear();
        self.by_content.clear();
        for owner in in_use {
            let address = Arc::as_ptr(owner) as usize;
            if self.by_address.insert(address, (Arc::clone(owner), Arc::clone(owner))).is_none() {
                self.by_content.insert(Arc::clone(owner));
            }
        }
        self.cleanup_at = (self.by_address.len() * 2).max(MIN_CLEANUP);
    }
}
