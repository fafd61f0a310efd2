//! Which senders a policy or an exception is about.
//!
//! All keys that are given must match; within a key, one of its patterns is enough. No keys at all match
//! everybody. A key about something the sender does not have (`unit` for a process outside systemd) does not
//! match, not even with `*`: `container = "*"` means *some* container.

use std::fmt;

use crate::flow::{Actor, Owner};

use super::glob::Glob;

/// Shortest container id that is compared with a pattern: what `docker ps` prints.
const SHORT_CONTAINER_ID: usize = 12;

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// The `match` of a policy, or the `owner` of an exception.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WorkloadMatch {
    /// systemd unit.
    pub units: Vec<Glob>,
    /// Container id, full or its first twelve digits.
    pub containers: Vec<Glob>,
    /// cgroup2 path from the root.
    pub cgroups: Vec<Glob>,
    /// User name, or numeric user id.
    pub users: Vec<Glob>,
    /// Path of the executable; `kernel:nfsd`, `forwarded`, `packet-socket`, `unowned` for what has none.
    pub exes: Vec<Glob>,
    /// Our port.
    pub local_ports: Vec<PortRange>,
}

impl WorkloadMatch {
    /// True when no key is given: it matches everybody.
    pub fn is_everybody(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this sender is meant.
    pub fn matches(&self, owner: &Owner, local_port: u16) -> bool {
        let workload = &owner.workload;
        matches_if_given(&self.units, workload.unit.as_deref(), Glob::matches)
            && matches_if_given(&self.containers, workload.container.as_deref(), matches_container)
            && matches_if_given(&self.cgroups, workload.cgroup.as_deref(), Glob::matches)
            && matches_user(&self.users, owner)
            && matches_if_given(&self.exes, Some(&executable(owner)), Glob::matches)
            && (self.local_ports.is_empty()
                || self.local_ports.iter().any(|range| (range.first..=range.last).contains(&local_port)))
    }

    /// Every key that is given, with its values, in a fixed order.
    pub fn keys(&self) -> Vec<(&'static str, Vec<String>)> {
        let texts = |globs: &[Glob]| globs.iter().map(ToString::to_string).collect::<Vec<_>>();
        [
            ("unit", texts(&self.units)),
            ("container", texts(&self.containers)),
            ("cgroup", texts(&self.cgroups)),
            ("user", texts(&self.users)),
            ("exe", texts(&self.exes)),
            ("local_port", self.local_ports.iter().map(ToString::to_string).collect()),
        ]
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .collect()
    }
}

/// `unit nginx.service or php*.service, local_port 443`; `everybody` without keys.
impl fmt::Display for WorkloadMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys();
        if keys.is_empty() {
            return f.write_str("everybody");
        }
        for (idx, (key, values)) in keys.iter().enumerate() {
            let comma = if idx > 0 { ", " } else { "" };
            write!(f, "{comma}{key} {}", values.join(" or "))?;
        }
        Ok(())
    }
}

fn matches_if_given(globs: &[Glob], name: Option<&str>, matches: fn(&Glob, &str) -> bool) -> bool {
    globs.is_empty() || name.is_some_and(|name| globs.iter().any(|glob| matches(glob, name)))
}

fn matches_container(glob: &Glob, id: &str) -> bool {
    glob.matches(id) || id.get(..SHORT_CONTAINER_ID).is_some_and(|short| glob.matches(short))
}

fn matches_user(globs: &[Glob], owner: &Owner) -> bool {
    if globs.is_empty() {
        return true;
    }
    let Some(process) = owner.process() else { return false };
    let uid = process.uid.to_string();
    globs
        .iter()
        .any(|glob| glob.matches(&uid) || process.user.as_deref().is_some_and(|user| glob.matches(user)))
}

/// What `exe` is compared with. The words for senders without an executable cannot be forged by a process: its
/// path starts with a slash, its bare name with a bracket.
fn executable(owner: &Owner) -> String {
    match &owner.actor {
        Actor::Process(process) => process.exe.as_ref().to_owned(),
        Actor::Kernel(service) => format!("kernel:{service}"),
        Actor::Forwarded => "forwarded".to_owned(),
        Actor::PacketSocket => "packet-socket".to_owned(),
        Actor::Unowned => "unowned".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::fixture;

    use super::*;

    fn globs(patterns: &[&str]) -> Vec<Glob> {
        patterns.iter().map(|pattern| Glob::new(pattern)).collect()
    }

    fn nginx() -> Owner {
        let mut owner = fixture::process("/usr/sbin/nginx", 33, Some("www-data"));
        owner.workload.unit = Some("nginx.service".into());
        owner.workload.cgroup = Some("/system.slice/nginx.service".into());
        owner
    }

    #[test]
    fn no_keys_match_everybody() {
        assert!(WorkloadMatch::default().matches(&nginx(), 0));
        assert!(WorkloadMatch::default().matches(&Owner::unowned(), 443));
    }

    #[test]
    fn all_keys_must_match_and_one_pattern_of_each_is_enough() {
        let web = WorkloadMatch {
            units: globs(&["apache2.service", "nginx.*"]),
            users: globs(&["www-data"]),
            local_ports: vec![PortRange { first: 443, last: 443 }, PortRange { first: 8000, last: 8100 }],
            ..WorkloadMatch::default()
        };
        for (port, expected) in
            [(443, true), (80, false), (7999, false), (8000, true), (8100, true), (8101, false)]
        {
            assert_eq!(web.matches(&nginx(), port), expected, "port {port}");
        }
        let mut other_user = nginx();
        other_user.actor = fixture::process("/usr/sbin/nginx", 0, Some("root")).actor;
        assert!(!web.matches(&other_user, 443));
    }

    #[test]
    fn a_key_about_something_absent_does_not_match_even_with_a_star() {
        let some_container = WorkloadMatch { containers: globs(&["*"]), ..WorkloadMatch::default() };
        assert!(!some_container.matches(&nginx(), 0));
        let some_user = WorkloadMatch { users: globs(&["*"]), ..WorkloadMatch::default() };
        assert!(!some_user.matches(&Owner::unowned(), 0));
    }

    #[test]
    fn a_container_is_named_by_its_full_or_its_short_id() {
        let mut owner = nginx();
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        owner.workload.container = Some(id.into());
        for (pattern, expected) in
            [(id, true), ("0123456789ab", true), ("01234*", true), ("0123456789", false)]
        {
            let containers = WorkloadMatch { containers: globs(&[pattern]), ..WorkloadMatch::default() };
            assert_eq!(containers.matches(&owner, 0), expected, "{pattern}");
        }
    }

    #[test]
    fn a_user_is_named_by_name_or_number() {
        for (pattern, expected) in [("www-data", true), ("33", true), ("0", false), ("www-*", true)] {
            let users = WorkloadMatch { users: globs(&[pattern]), ..WorkloadMatch::default() };
            assert_eq!(users.matches(&nginx(), 0), expected, "{pattern}");
        }
    }

    #[test]
    fn senders_without_an_executable_have_words_of_their_own() {
        let nfsd = WorkloadMatch { exes: globs(&["kernel:nfsd"]), ..WorkloadMatch::default() };
        let kernel = Owner { actor: Actor::Kernel("nfsd".into()), ..Owner::unowned() };
        assert!(nfsd.matches(&kernel, 2049));
        assert!(
            !nfsd.matches(&fixture::process("[nfsd]", 0, None), 2049),
            "a process that calls itself nfsd"
        );
        let forwarded = WorkloadMatch { exes: globs(&["forwarded"]), ..WorkloadMatch::default() };
        assert!(forwarded.matches(&Owner { actor: Actor::Forwarded, ..Owner::unowned() }, 0));
    }

    #[test]
    fn it_reads_as_a_phrase() {
        let web = WorkloadMatch {
            units: globs(&["nginx.service", "php*"]),
            local_ports: vec![PortRange { first: 8000, last: 8100 }],
            ..WorkloadMatch::default()
        };
        assert_eq!(web.to_string(), "unit nginx.service or php*, local_port 8000-8100");
        assert_eq!(WorkloadMatch::default().to_string(), "everybody");
    }
}
