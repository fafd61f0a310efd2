//! Violations become episodes.
