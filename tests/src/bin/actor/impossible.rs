//! What this kernel cannot do: told apart from what went wrong.

use std::{fmt, io};

use anyhow::{Error, Result};
use serde_json::json;

use crate::say;

/// The kernel said that it has no such thing.
#[derive(Debug)]
struct Impossible(String);

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Impossible {}

/// Errors by which a kernel says that it lacks a protocol, an option or an operation.
const LACKING: [i32; 10] = [
    libc::EAFNOSUPPORT,
    libc::EINVAL,
    libc::ENODEV,
    libc::ENOENT,
    libc::ENOPROTOOPT,
    libc::ENOSYS,
    libc::EOPNOTSUPP,
    libc::EPROTONOSUPPORT,
    libc::EPROTOTYPE,
    libc::ESOCKTNOSUPPORT,
];

/// The result of asking for `what`, which not every kernel has. Only for calls that cannot fail like that otherwise.
pub(crate) fn needs<T, E: Into<io::Error>>(what: &str, result: Result<T, E>) -> Result<T> {
    result.map_err(|error| {
        let error: io::Error = error.into();
        if error.raw_os_error().is_some_and(|number| LACKING.contains(&number)) {
            Error::new(Impossible(format!("{what}: {error}")))
        } else {
            Error::new(error).context(what.to_owned())
        }
    })
}

/// Prints what is impossible; passes other errors on.
pub(crate) fn tell(error: Error) -> Result<()> {
    match error.downcast_ref::<Impossible>() {
        Some(impossible) => say(&json!({ "impossible": impossible.0 })),
        None => Err(error),
    }
}
