//! Kernels on which a path has to be possible: there, "not possible here" is a failure of the test.

use crate::kernel;

/// Beginnings and ends of a kernel's release, and what has to be possible on it.
const REQUIRED: &[(&str, &str, &[&str])] = &[];

pub(crate) fn is_required(path: &str) -> bool {
    let release = kernel::release();
    REQUIRED.iter().any(|(begin, end, paths)| {
        release.starts_with(begin) && release.ends_with(end) && paths.contains(&path)
    })
}
