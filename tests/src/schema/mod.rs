//! Published schemas, and whether a record keeps to them.
//!
//! The schemas are data in `tests/data`, taken out of what their makers publish; what is checked is everything that is
//! there: classes, required attributes, types, values of enumerations, at least one of several, names. `unmapped` is
//! free by definition.

pub mod ecs;
pub mod ocsf;
