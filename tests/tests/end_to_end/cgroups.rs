//! Programs of others at cgroups: what they let pass is counted as ever, and what they drop is told as not sent.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    actor,
    lab::{Family, Host},
    links::{Sharing, attach_egress},
    running::Running,
    scene::{Scene, scene},
    settings::Settings,
};

use crate::{discards, sink_at};

/// A cgroup of the second version, removed with the test.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let root = mounts
            .lines()
            .filter_map(|line| line.split_once(' ')?.1.split_once(' '))
            .find(|(_, rest)| rest.starts_with("cgroup2 "))
            .map(|(path, _)| PathBuf::from(path))
            .context("cgroup2 is not mounted")?;
        let path = root.join(format!("homeport-{name}-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Starts a program on the storage host, inside.
    fn start(&self, scene: &Scene, program: &[&str]) -> Result<Running> {
        let mut command = scene.lab.command(Host::Storage, "sh");
        let enter = format!("echo $$ >{}/cgroup.procs; exec \"$@\"", self.0.display());
        Running::start(command.args(["-ec", &enter, "sh"]).args(program))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Whoever was in it has been waited for.
        let _ = fs::remove_dir(&self.0);
    }
}

fn lets_pass(sharing: Sharing) {
    scene(&Settings::default(), |scene| {
        let cgroup = Cgroup::new(&format!("{sharing:?}").to_lowercase())?;
        attach_egress(&cgroup.0, sharing, true)?;
        let binary = actor::binary()?;
        let binary = binary.to_str().context("a path that is text")?;
        let mut senders = Vec::new();
        let mut sinks = Vec::new();
        for family in Family::BOTH {
            let at = sink_at(Host::Foreign, family);
            sinks.push(scene.lab.listener(Host::Foreign, "tcp-sink", at, "")?);
            let mut sender =
                cgroup.start(scene, &[binary, "tcp-push", "--to", &at.to_string(), "--bytes", "200000"])?;
            senders.push((at, actor::Sent::from_line(&sender.line()?)?));
            sender.succeed()?;
        }
        let flows = scene.accounted()?;
        for (at, sent) in senders {
            flows.check_only_sender(at.ip(), "tcp", sent, scene.resent()?)?;
        }
        Ok(())
    });
}

#[test]
fn a_program_beside_ours_that_lets_everything_pass_changes_nothing() {
    lets_pass(Sharing::Multi);
}

#[test]
fn a_program_below_ours_that_takes_the_place_of_others_does_not_take_ours() {
    lets_pass(Sharing::Override);
}

#[test]
fn what_a_program_of_others_drops_is_told_as_discarded() {
    const SENDER: &str = "
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
sender = socket.socket(family, socket.SOCK_DGRAM)
refused = 0
for _ in range(int(sys.argv[2])):
    try:
        sender.sendto(b'x' * int(sys.argv[3]), (sys.argv[1], 9000))
    except PermissionError:
        refused += 1
print(refused)
";
    scene(&discards::settings(), |scene| {
        discards::until_compared(scene)?;
        let cgroup = Cgroup::new("drop")?;
        attach_egress(&cgroup.0, Sharing::Multi, false)?;
        let (count, size) = (discards::COUNT, discards::SIZE);
        for family in Family::BOTH {
            let to = Host::Foreign.address(family).to_string();
            let words = ["python3", "-c", SENDER, &to, &count.to_string(), &size.to_string()];
            let mut sender = cgroup.start(scene, &words)?;
            ensure!(sender.line()?.as_u64() == Some(count), "the program should have refused all of them");
            sender.succeed()?;
        }
        let finding = discards::check(scene, count * (size + 28) + count * (size + 48), "discarded")?;
        let discarded = &finding["unmapped"]["homeport"]["discards"];
        ensure!(discarded["output_packets"].as_u64() >= Some(2 * count), "{discarded:#}");
        Ok(())
    });
}
