//! Where tiles are: the paths of C2SP tlog-tiles, below the ledger's directory.
//!
//! `tlog_tiles` writes the older form of Go's checksum database (`tile/8/0/...`), so paths are made here.

/// Entries of a full bundle, and hashes of a full tile.
pub const WIDTH: u64 = 256;

/// The path of a hash tile: level, number, and how many hashes it has ([`WIDTH`] when it is full).
pub fn hashes(level: u8, number: u64, width: u64) -> String {
    with_width(format!("tile/{level}/{}", digits(number)), width)
}

/// The path of an entry bundle: number, and how many entries it has.
pub fn entries(number: u64, width: u64) -> String {
    with_width(format!("tile/entries/{}", digits(number)), width)
}

/// A full bundle, packed.
pub(crate) fn packed(number: u64) -> String {
    format!("{}{PACKED}", entries(number, WIDTH))
}

/// What the name of a packed bundle ends with.
pub(crate) const PACKED: &str = ".gz";

/// The directory of the partial forms of a tile: its path with `.p`.
pub(crate) fn partials(full: &str) -> String {
    format!("{full}.p")
}

fn with_width(path: String, width: u64) -> String {
    if width < WIDTH { format!("{path}.p/{width}") } else { path }
}

/// Groups of three digits, each but the last marked with `x`: 1234067 is `x001/x234/067`.
fn digits(number: u64) -> String {
    let mut path = format!("{:03}", number % 1_000);
    let mut rest = number / 1_000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1_000);
        rest /= 1_000;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(digits(1_234_067), "x001/x234/067");
        assert_eq!(hashes(0, 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(entries(1_234_067, 8), "tile/entries/x001/x234/067.p/8");
        assert_eq!(hashes(3, 0, 1), "tile/3/000.p/1");
        assert_eq!(entries(999, 256), "tile/entries/999");
        assert_eq!(packed(1_000), "tile/entries/x001/000.gz");
        assert_eq!(entries(1_000, 256), "tile/entries/x001/000");
        assert_eq!(digits(u64::MAX), "x018/x446/x744/x073/x709/x551/615");
    }
}
