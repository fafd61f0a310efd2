//! Patterns for names: `*` is any run of characters, `?` is one character, all else means itself.
//!
//! Written here because the names matched are not file names. systemd escapes with backslashes
//! (`dev-disk\x2dby.device`) and kernel threads wear brackets (`[nfsd]`), which the glob crates read as escapes
//! and classes; and `*` has to cross slashes, so that `/machine.slice/*` means everything below. Without classes
//! the matcher is twenty lines and needs no regular expression engine.

use std::fmt;

/// A compiled pattern. Case matters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Glob(Box<str>);

impl Glob {
    /// Every text is a pattern.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `name` matches.
    ///
    /// On a mismatch only the last `*` has to be tried again one character further, so the worst case is the
    /// product of both lengths: a hostile process name cannot make it exponential.
    pub fn matches(&self, name: &str) -> bool {
        let pattern: &[u8] = self.0.as_bytes();
        let name = name.as_bytes();
        let (mut pattern_idx, mut name_idx) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while name_idx < name.len() {
            match pattern.get(pattern_idx) {
                Some(b'*') => {
                    retry = Some((pattern_idx + 1, name_idx));
                    pattern_idx += 1;
                }
                Some(b'?') => {
                    pattern_idx += 1;
                    name_idx += character_length(name[name_idx]);
                }
                Some(byte) if *byte == name[name_idx] => {
                    pattern_idx += 1;
                    name_idx += 1;
                }
                Some(_) | None => {
                    let Some((after_star, tried)) = retry else { return false };
                    let next = tried + character_length(name[tried]);
                    retry = Some((after_star, next));
                    (pattern_idx, name_idx) = (after_star, next);
                }
            }
        }
        pattern[pattern_idx..].iter().all(|byte| *byte == b'*')
    }
}

/// Bytes of the UTF-8 character that starts with `first`.
const fn character_length(first: u8) -> usize {
    match first {
        0xF0.. => 4,
        0xE0.. => 3,
        0xC0.. => 2,
        _ => 1,
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, without any thought for speed.
    fn naive(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(('*', rest)), _) => naive(rest, name) || (!name.is_empty() && naive(pattern, &name[1..])),
            (Some(('?', rest)), Some((_, name))) => naive(rest, name),
            (Some((letter, rest)), Some((first, name))) => letter == first && naive(rest, name),
            (Some(_), None) => false,
        }
    }

    #[test]
    fn patterns_mean_what_an_operator_expects() {
        for (pattern, name, expected) in [
            ("nginx.service", "nginx.service", true),
            ("nginx.service", "nginx.service2", false),
            ("nginx.service", "Nginx.service", false),
            ("nginx*", "nginx.service", true),
            ("*.service", "nginx.service", true),
            ("php*-fpm.service", "php8.2-fpm.service", true),
            ("/machine.slice/*", "/machine.slice/a/b/c", true),
            ("/machine.slice/*", "/machine.slice", false),
            ("*", "", true),
            ("*", "anything/at all", true),
            ("", "", true),
            ("", "a", false),
            ("?", "", false),
            ("?", "é", true),
            ("a?c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("[nfsd]", "[nfsd]", true),
            ("[nfsd]", "n", false),
            (r"dev\x2ddisk.device", r"dev\x2ddisk.device", true),
            ("**", "ab", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(name), expected, "{pattern} on {name}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(pattern in "[ab*?é]{0,8}", name in "[abé€]{0,8}") {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(Glob::new(&pattern).matches(&name), naive(&letters(&pattern), &letters(&name)));
        }

        #[test]
        fn it_never_panics(pattern in any::<String>(), name in any::<String>()) {
            let _ = Glob::new(&pattern).matches(&name);
        }
    }
}
