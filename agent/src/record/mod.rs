//! The outward form.
