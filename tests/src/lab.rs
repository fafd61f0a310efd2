//! A small internet of network namespaces.
//!
//! ```text
//!                         .-- approved   198.51.100.10   2001:db8:0:51::10    (US)
//!   storage ---- router --+-- foreign    203.0.113.10    2001:db8:0:113::10   (DE)
//!   192.0.2.10            '-- denied     203.0.113.130   2001:db8:0:130::10   (CN)
//!   2001:db8:0:2::10
//! ```
//!
//! Every host knows the hardware address of its neighbour for good. Otherwise the kernel would keep packets back while it
//! asks for it, which on a busy machine takes long enough for a hundred packets to be thrown away: they have been sent
//! by their socket and never leave the card. What asks and answers (ARP, neighbour discovery) is not sent, either.
//!
//! Names carry the process id and a number, so that labs can exist side by side. A lab goes when it is dropped,
//! by a panic too; what a killed process left behind is removed by the next one that makes a lab.

use std::{
    collections::HashSet,
    fmt,
    fs::File,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::patience::patient;

/// Every namespace of a lab is called `hp-<process id>-<number>-<host>`.
const PREFIX: &str = "hp";

/// The link header that the network card counts and layer 3 does not.
pub const ETHERNET_HEADER_BYTES: u64 = 14;

/// The longest frame that a link of the lab carries.
const MAX_FRAME_BYTES: u64 = 1514;

/// A host of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The one that is watched.
    Storage,
    /// Between all others.
    Router,
    /// In a country that is approved.
    Approved,
    /// In a country that is not approved.
    Foreign,
    /// In a country that is denied by name.
    Denied,
    /// A container on the storage host, 10.20.0.2 (US), that sends through it. See [`Lab::add_guest`].
    Guest,
    /// Another one beside it, 10.20.0.3. See [`Lab::add_neighbour`].
    Neighbour,
}

use Host::{Approved, Denied, Foreign, Guest, Neighbour, Router, Storage};

/// Version of the internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, for tests that do the same twice.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
}

impl Host {
    const BUILT: [Self; 5] = [Storage, Router, Approved, Foreign, Denied];
    /// At the ends of the picture.
    const LEAVES: [Self; 4] = [Storage, Approved, Foreign, Denied];

    const fn name(self) -> &'static str {
        match self {
            Storage => "storage",
            Router => "router",
            Approved => "approved",
            Foreign => "foreign",
            Denied => "denied",
            Guest => "guest",
            Neighbour => "neighbour",
        }
    }

    /// Its address. The router has one per link; this is the one towards the storage host.
    pub const fn address(self, family: Family) -> IpAddr {
        match (family, self) {
            (Family::V4, Storage) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
            (Family::V4, Router) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            (Family::V4, Approved) => IpAddr::V4(Ipv4Addr::new(198, 51, 100, 10)),
            (Family::V4, Foreign) => IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)),
            (Family::V4, Denied) => IpAddr::V4(Ipv4Addr::new(203, 0, 113, 130)),
            (Family::V4, Guest) => IpAddr::V4(Ipv4Addr::new(10, 20, 0, 2)),
            (Family::V6, Guest) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0x20, 0, 0, 0, 2)),
            (Family::V4, Neighbour) => IpAddr::V4(Ipv4Addr::new(10, 20, 0, 3)),
            (Family::V6, Neighbour) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0x20, 0, 0, 0, 3)),
            (Family::V6, Storage) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 0x10)),
            (Family::V6, Router) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 1)),
            (Family::V6, Approved) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0x51, 0, 0, 0, 0x10)),
            (Family::V6, Foreign) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0x113, 0, 0, 0, 0x10)),
            (Family::V6, Denied) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0x130, 0, 0, 0, 0x10)),
        }
    }

    /// The country that [`crate::settings`] puts it in.
    pub const fn country(self) -> &'static str {
        match self {
            Storage | Router | Approved | Guest | Neighbour => "US",
            Foreign => "DE",
            Denied => "CN",
        }
    }

    /// Prefix length of its IPv4 link, and the router's addresses on it. Two countries share 203.0.113.0/24.
    const fn link(self) -> (u8, &'static str, &'static str) {
        match self {
            Storage | Router => (24, "192.0.2.1", "2001:db8:0:2::1"),
            Guest | Neighbour => (24, "10.20.0.1", "2001:db8:0:20::1"),
            Approved => (24, "198.51.100.1", "2001:db8:0:51::1"),
            Foreign => (25, "203.0.113.1", "2001:db8:0:113::1"),
            Denied => (25, "203.0.113.129", "2001:db8:0:130::1"),
        }
    }
}

/// The two ends of a link of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The host in its name.
    Leaf,
    /// The router, or for guests the storage host.
    Gateway,
}

impl Host {
    /// Hardware address of an end of this host's link.
    fn hardware_address(self, end: End) -> String {
        let number = match self {
            Storage | Router => 0,
            Approved => 1,
            Foreign => 2,
            Denied => 3,
            Guest | Neighbour => 4,
        };
        let end = match (end, self) {
            (End::Leaf, Neighbour) => 0x11,
            (End::Leaf, _) => 0x10,
            (End::Gateway, _) => 0x01,
        };
        format!("02:00:00:00:{number:02x}:{end:02x}")
    }

    /// Lines for `ip`: the leaf knows its gateway, which is behind `device`.
    fn knows_gateway(self, device: &str) -> [String; 2] {
        let (_, gateway4, gateway6) = self.link();
        let lladdr = self.hardware_address(End::Gateway);
        [gateway4, gateway6].map(|address| neighbour(address, &lladdr, device))
    }

    /// Lines for `ip`: the gateway knows the leaf, which is behind `device`.
    fn known_by_gateway(self, device: &str) -> [String; 2] {
        let lladdr = self.hardware_address(End::Leaf);
        Family::BOTH.map(|family| neighbour(&self.address(family).to_string(), &lladdr, device))
    }
}

/// A neighbour that is never asked for.
fn neighbour(address: &str, lladdr: &str, device: &str) -> String {
    format!("neighbour replace {address} lladdr {lladdr} dev {device} nud permanent")
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a network card has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nic {
    /// Bytes, link headers included.
    pub bytes: u64,
    /// Frames.
    pub packets: u64,
    /// Frames that it was given and dropped: they are in neither of the two.
    pub dropped: u64,
}

impl Nic {
    /// Sent since `earlier`.
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            bytes: self.bytes - earlier.bytes,
            packets: self.packets - earlier.packets,
            dropped: self.dropped - earlier.dropped,
        }
    }

    /// An observer in front of the card saw exactly what the card sent, and what it says it dropped: as many frames,
    /// of a size that frames have.
    ///
    /// # Errors
    ///
    /// When anything else is between the two.
    pub fn check_seen(self, seen: Self) -> Result<()> {
        let missing = (seen.packets.checked_sub(self.packets), seen.bytes.checked_sub(self.bytes));
        let (Some(frames), Some(bytes)) = missing else {
            bail!("the card sent {self:?}, tc saw only {seen:?}")
        };
        ensure!(frames == self.dropped, "the card sent {self:?}, tc saw {seen:?}");
        let plausible = frames * ETHERNET_HEADER_BYTES..=frames * MAX_FRAME_BYTES;
        ensure!(
            plausible.contains(&bytes),
            "{frames} frames of {bytes} bytes were dropped: {self:?}, {seen:?}"
        );
        Ok(())
    }

    /// Bytes without link headers.
    pub const fn layer3_bytes(self) -> u64 {
        self.bytes - self.packets * ETHERNET_HEADER_BYTES
    }
}

/// See the module.
#[derive(Debug)]
pub struct Lab {
    id: String,
    /// What reaches the router from the storage host, and is a network card.
    cards: Vec<&'static str>,
    /// What those add to each frame below the network layer, beyond the link header.
    framing_bytes: u64,
}

/// Addresses of the second card, and of the router at the other end of its cable, in the order of [`Family::BOTH`].
pub const SECOND: [(&str, &str); 2] =
    [("198.18.1.10", "198.18.1.1"), ("2001:db8:0:18::10", "2001:db8:0:18::1")];

/// Addresses of containers that hang on the storage host's card.
pub const STACKED_GUEST: &str = "192.0.2.20";
/// See [`STACKED_GUEST`].
pub const STACKED_NEIGHBOUR: &str = "192.0.2.21";

impl Lab {
    /// Builds the namespaces and waits until they are silent.
    ///
    /// # Errors
    ///
    /// Without root, and when a command of iproute2 or ethtool fails; nothing is left behind then.
    pub fn new() -> Result<Self> {
        Self::make(false)
    }

    /// The same, with the namespace that this process is in as the storage host's: some of what the kernel serves, it
    /// serves from the first one alone.
    ///
    /// # Errors
    ///
    /// As above; and when this machine has a network, which would be in the way.
    pub fn in_first_namespace() -> Result<Self> {
        let routes = output(Command::new("ip").args(["route", "show", "table", "all", "type", "unicast"]))?;
        let is_empty = routes.lines().all(|route| route.contains(" dev lo "));
        ensure!(is_empty, "the first network namespace of this machine is in use");
        Self::make(true)
    }

    fn make(is_first: bool) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "network namespaces and eBPF need root: run `cargo xtask test`, or cargo as root"
        );
        static LEFTOVERS: Once = Once::new();
        LEFTOVERS.call_once(remove_leftovers);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{PREFIX}-{}-{number}", std::process::id());
        let lab = Self { id, cards: vec!["eth0"], framing_bytes: 0 };
        lab.build(is_first)?;
        lab.wait_for_silence()?;
        Ok(lab)
    }

    fn build(&self, is_first: bool) -> Result<()> {
        for host in Host::BUILT {
            let namespace = self.namespace(host);
            if is_first && host == Storage {
                let own = std::process::id().to_string();
                run(Command::new("ip").args(["netns", "attach", &namespace, &own]))?;
            } else {
                run(Command::new("ip").args(["netns", "add", &namespace]))?;
            }
            self.shell(host, SILENCE)?;
        }
        self.shell(
            Router,
            "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
        )?;
        let router = self.namespace(Router);
        let mut router_lines = vec!["link set lo up".to_owned()];
        for host in Host::LEAVES {
            let (prefix, gateway4, gateway6) = host.link();
            let (near, far) = (host.hardware_address(End::Leaf), host.hardware_address(End::Gateway));
            let mut lines = vec![
                "link set lo up".to_owned(),
                format!(
                    "link add eth0 address {near} type veth peer name {host} address {far} netns {router}"
                ),
                format!("address add {}/{prefix} dev eth0", host.address(Family::V4)),
                format!("address add {}/64 dev eth0 nodad", host.address(Family::V6)),
                "link set eth0 up".to_owned(),
                format!("route add default via {gateway4}"),
            ];
            lines.extend(host.knows_gateway("eth0"));
            self.ip_batch(host, &lines)?;
            router_lines.push(format!("address add {gateway4}/{prefix} dev {host}"));
            router_lines.push(format!("address add {gateway6}/64 dev {host} nodad"));
            router_lines.push(format!("link set {host} up"));
            router_lines.extend(host.known_by_gateway(host.name()));
        }
        self.ip_batch(Router, &router_lines)?;
        for host in Host::LEAVES {
            // Only possible when the other end is up: IPv6 has no addresses on a link without carrier.
            self.ip_batch(host, &[format!("route add default via {}", host.link().2)])?;
        }
        // A virtual cable counts a large buffer once; a real card counts the frames it cuts it into.
        let offloads = ["tso", "gso", "gro", "tx-udp-segmentation", "tx-sctp-segmentation"]
            .map(|name| format!("{name} off"))
            .join(" ");
        self.shell(Storage, &format!("ethtool -K eth0 {offloads} >/dev/null"))
    }

    /// A second card of the storage host, `eth1`, with a cable of its own to the router's `second`. Routes are for the
    /// caller to make: nothing but the router itself is reached through it.
    ///
    /// # Errors
    ///
    /// When a command fails.
    pub fn add_card(&mut self) -> Result<()> {
        let router = self.namespace(Router);
        let (near, far) = ("02:00:00:00:05:10", "02:00:00:00:05:01");
        let mut lines = vec![format!(
            "link add eth1 address {near} type veth peer name second address {far} netns {router}"
        )];
        let mut router_lines = Vec::new();
        for ((ours, theirs), prefix) in SECOND.into_iter().zip([24, 64]) {
            let nodad = if prefix == 64 { "nodad" } else { "" };
            lines.push(format!("address add {ours}/{prefix} dev eth1 {nodad}"));
            router_lines.push(format!("address add {theirs}/{prefix} dev second {nodad}"));
            lines.push(neighbour(theirs, far, "eth1"));
            router_lines.push(neighbour(ours, near, "second"));
        }
        lines.insert(1, "link set eth1 up".to_owned());
        router_lines.insert(0, "link set second up".to_owned());
        self.ip_batch(Storage, &lines)?;
        self.ip_batch(Router, &router_lines)?;
        self.shell(Storage, "ethtool -K eth1 tso off gso off gro off >/dev/null")?;
        // What comes in through one card may be answered through the other.
        for host in [Storage, Router] {
            self.shell(host, "for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$file; done")?;
        }
        self.cards.push("eth1");
        self.wait_for_silence()
    }

    /// Puts another device between the addresses of the storage host and its cards, and one like it at the router's end:
    /// lines of shell make them, and name them.
    ///
    /// # Errors
    ///
    /// When a command fails: not every kernel has every kind of device.
    pub fn stack(&mut self, storage: (&str, &str), router: (&str, &str), framing_bytes: u64) -> Result<()> {
        self.shell(Router, router.1)?;
        self.shell(Storage, storage.1)?;
        let (_, gateway4, gateway6) = Storage.link();
        let addresses = Family::BOTH.map(|family| Storage.address(family).to_string());
        for (host, device, ours) in [
            (Router, router.0, [gateway4, gateway6]),
            (Storage, storage.0, addresses.each_ref().map(String::as_str)),
        ] {
            let below = if host == Router { "storage" } else { "eth0" };
            if device != below {
                self.shell(
                    host,
                    &format!("ip -4 address flush dev {below}; ip -6 address flush dev {below}"),
                )?;
            }
            self.ip_batch(
                host,
                &[
                    format!("link set {device} up"),
                    format!("address replace {}/24 dev {device}", ours[0]),
                    format!("address replace {}/64 dev {device} nodad", ours[1]),
                ],
            )?;
        }
        let known = [
            (Storage, storage.0, [gateway4, gateway6].map(str::to_owned), self.lladdr(Router, router.0)?),
            (Router, router.0, addresses, self.lladdr(Storage, storage.0)?),
        ];
        for (host, device, neighbours, lladdr) in known {
            let lines: Vec<String> =
                neighbours.iter().map(|address| neighbour(address, &lladdr, device)).collect();
            self.ip_batch(host, &lines)?;
        }
        self.ip_batch(
            Storage,
            &[
                format!("route replace default via {gateway4} dev {}", storage.0),
                format!("route replace default via {gateway6} dev {}", storage.0),
            ],
        )?;
        self.framing_bytes = framing_bytes;
        self.wait_for_silence()
    }

    /// Moves the addresses of the storage host, and of the router towards it, to point-to-point devices that go through
    /// their cards and add `framing_bytes` to each frame.
    ///
    /// # Errors
    ///
    /// When a command fails.
    pub fn move_to_session(&mut self, storage: &str, router: &str, framing_bytes: u64) -> Result<()> {
        let (_, gateway4, gateway6) = Storage.link();
        let ours = Family::BOTH.map(|family| Storage.address(family).to_string());
        for (host, below, device, [address4, address6]) in [
            (Router, "storage", router, [gateway4, gateway6]),
            (Storage, "eth0", storage, ours.each_ref().map(String::as_str)),
        ] {
            self.shell(
                host,
                &format!(
                    "ip -4 address flush dev {below}; ip -6 address flush dev {below}; ip link set {device} mtu 1492 up
                     ip address replace {address4}/24 dev {device}
                     ip address replace {address6}/64 dev {device} nodad"
                ),
            )?;
        }
        self.shell(
            Storage,
            &format!("ip route replace default dev {storage}; ip -6 route replace default dev {storage}"),
        )?;
        self.framing_bytes = framing_bytes;
        self.wait_for_silence()
    }

    fn lladdr(&self, host: Host, device: &str) -> Result<String> {
        let namespace = self.namespace(host);
        let text = output(Command::new("ip").args(["-n", &namespace, "-j", "link", "show", "dev", device]))?;
        let links: Value = serde_json::from_str(&text).context("ip prints JSON")?;
        Ok(links[0]["address"].as_str().context("hardware address")?.to_owned())
    }

    /// A container on the storage host, as container engines do it: a bridge, and a virtual cable into it.
    ///
    /// # Errors
    ///
    /// When a command fails.
    pub fn add_guest(&self) -> Result<()> {
        let (prefix, gateway, _) = Guest.link();
        let lines = [
            format!("link add br0 address {} type bridge", Guest.hardware_address(End::Gateway)),
            format!("address add {gateway}/{prefix} dev br0"),
            "link set br0 up".to_owned(),
        ];
        self.ip_batch(Storage, &lines)?;
        self.shell(Storage, "echo 1 >/proc/sys/net/ipv4/ip_forward")?;
        self.plug_into_bridge(Guest)
    }

    /// Another container on the same bridge.
    ///
    /// # Errors
    ///
    /// When a command fails; the guest has to be there.
    pub fn add_neighbour(&self) -> Result<()> {
        self.plug_into_bridge(Neighbour)
    }

    fn plug_into_bridge(&self, guest: Host) -> Result<()> {
        let namespace = self.namespace(guest);
        run(Command::new("ip").args(["netns", "add", &namespace]))?;
        self.shell(guest, SILENCE)?;
        let (prefix, gateway, _) = guest.link();
        let leaf = guest.hardware_address(End::Leaf);
        let [known, _] = guest.known_by_gateway("br0");
        let lines = [
            format!("link add {guest}0 type veth peer name eth0 address {leaf} netns {namespace}"),
            format!("link set {guest}0 master br0"),
            format!("link set {guest}0 up"),
            known,
        ];
        self.ip_batch(Storage, &lines)?;
        let [knows, _] = guest.knows_gateway("eth0");
        let lines = [
            "link set lo up".to_owned(),
            format!("address add {}/{prefix} dev eth0", guest.address(Family::V4)),
            "link set eth0 up".to_owned(),
            format!("route add default via {gateway}"),
            knows,
        ];
        self.ip_batch(guest, &lines)?;
        self.wait_for_silence()
    }

    /// A container whose interface, of a kind such as `macvlan mode bridge`, hangs on the storage host's card. It is
    /// on the same link: 192.0.2.20 (US).
    ///
    /// # Errors
    ///
    /// When a command fails: not every kernel has every kind.
    pub fn add_stacked_guest(&self, kind: &str) -> Result<()> {
        self.stack_on_card(Guest, STACKED_GUEST, kind)
    }

    /// Another one beside it, [`STACKED_NEIGHBOUR`]. Both know each other's hardware address.
    ///
    /// # Errors
    ///
    /// When a command fails; the guest has to be there.
    pub fn add_stacked_neighbour(&self, kind: &str) -> Result<()> {
        self.stack_on_card(Neighbour, STACKED_NEIGHBOUR, kind)?;
        for (host, other, address) in
            [(Guest, Neighbour, STACKED_NEIGHBOUR), (Neighbour, Guest, STACKED_GUEST)]
        {
            let lladdr = self.lladdr(other, "eth0")?;
            self.ip_batch(host, &[neighbour(address, &lladdr, "eth0")])?;
        }
        self.wait_for_silence()
    }

    fn stack_on_card(&self, host: Host, address: &str, kind: &str) -> Result<()> {
        let namespace = self.namespace(host);
        run(Command::new("ip").args(["netns", "add", &namespace]))?;
        self.shell(host, SILENCE)?;
        self.shell(Storage, &format!("ip link add link eth0 name {host}0 netns {namespace} type {kind}"))?;
        let lines = [
            "link set lo up".to_owned(),
            format!("link set {host}0 name eth0"),
            format!("address add {address}/24 dev eth0"),
            "link set eth0 up".to_owned(),
            format!("route add default via {}", Storage.link().1),
            Storage.knows_gateway("eth0")[0].clone(),
        ];
        self.ip_batch(host, &lines)?;
        // Some kinds have the address of the card, others one of their own.
        let lladdr = self.lladdr(host, "eth0")?;
        self.ip_batch(Router, &[neighbour(address, &lladdr, Storage.name())])?;
        self.wait_for_silence()
    }

    /// Hardware address of the storage host's card.
    pub fn card_mac(&self) -> String {
        Storage.hardware_address(End::Leaf)
    }

    /// Hardware address of the storage host's next hop.
    pub fn gateway_mac(&self) -> String {
        Storage.hardware_address(End::Gateway)
    }

    /// The name of a host's namespace, as `ip netns` knows it.
    pub fn namespace(&self, host: Host) -> String {
        format!("{}-{host}", self.id)
    }

    /// A program to be run on a host.
    ///
    /// `nsenter`, not `ip netns exec`: the latter mounts another `/sys`, and the cgroups would be gone.
    pub fn command(&self, host: Host, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace_file(host).display())).arg("--").arg(program);
        command
    }

    /// Runs a line of shell on a host.
    ///
    /// # Errors
    ///
    /// When it fails, with what it printed.
    pub fn shell(&self, host: Host, line: &str) -> Result<()> {
        run(self.command(host, "sh").args(["-ec", line])).with_context(|| format!("on host {host}"))
    }

    /// Runs a line of shell on a host and returns what it prints.
    ///
    /// # Errors
    ///
    /// When it fails, with what it printed.
    pub fn ask(&self, host: Host, line: &str) -> Result<String> {
        output(self.command(host, "sh").args(["-ec", line])).with_context(|| format!("on host {host}"))
    }

    /// What the storage host's card has sent, or all of them, without what they add below the network layer.
    ///
    /// # Errors
    ///
    /// When a card is gone.
    pub fn nic(&self) -> Result<Nic> {
        let mut sum = Nic::default();
        for card in &self.cards {
            let Nic { bytes, packets, dropped } = self.nic_of(card)?;
            sum.bytes += bytes.saturating_sub(packets * self.framing_bytes);
            sum.packets += packets;
            sum.dropped += dropped;
        }
        Ok(sum)
    }

    /// What one of the storage host's cards has sent.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub fn nic_of(&self, name: &str) -> Result<Nic> {
        self.nic_at(Storage, name)
    }

    /// What a card of any host has sent.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub fn nic_at(&self, host: Host, name: &str) -> Result<Nic> {
        let namespace = self.namespace(host);
        let text =
            output(Command::new("ip").args(["-n", &namespace, "-s", "-j", "link", "show", "dev", name]))?;
        let links: Value = serde_json::from_str(&text).context("ip prints JSON")?;
        let sent = &links[0]["stats64"]["tx"];
        Ok(Nic {
            bytes: sent["bytes"].as_u64().context("tx bytes")?,
            packets: sent["packets"].as_u64().context("tx packets")?,
            dropped: sent["dropped"].as_u64().context("tx dropped")?,
        })
    }

    /// Payload that the storage host may have sent again: at most so many bytes. MPTCP sends what one of its connections
    /// is slow with once more, in pieces of up to 64 KiB, and TCP knows nothing of it.
    ///
    /// # Errors
    ///
    /// When the kernel's tables cannot be read.
    pub fn resent_bytes_at_most(&self) -> Result<u64> {
        /// A full-sized TCP segment of the lab carries at most this much.
        const SEGMENT_BYTES: u64 = 1460;
        const PIECE_BYTES: u64 = 65_536;
        let table = self.ask(Storage, "cat /proc/self/net/snmp /proc/self/net/netstat")?;
        let segments = counter(&table, "Tcp:", "RetransSegs").context("RetransSegs in /proc/net/snmp")?;
        // Only kernels with MPTCP have it.
        let pieces = counter(&table, "MPTcpExt:", "MPTCPRetrans").unwrap_or(0);
        Ok(segments * SEGMENT_BYTES + pieces * PIECE_BYTES)
    }

    /// Waits until the storage host's card has been still for a moment: multicast reports are out.
    fn wait_for_silence(&self) -> Result<()> {
        let deadline = Instant::now() + patient(Duration::from_secs(5));
        let mut before = self.nic()?;
        while Instant::now() < deadline {
            thread::sleep(Duration::from_millis(100));
            let after = self.nic()?;
            if after == before && after.packets > 0 {
                return Ok(());
            }
            before = after;
        }
        bail!("the lab does not get silent: {before:?}")
    }

    /// Does something on a host, on a thread of its own: sockets that it makes belong there and may be used anywhere.
    ///
    /// # Errors
    ///
    /// When the host's namespace cannot be entered, or what is done fails.
    pub fn within<T: Send>(&self, host: Host, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let namespace = File::open(self.namespace_file(host))?;
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        let enter = || {
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind)
                .with_context(|| format!("enter the namespace of {host}"))?;
            work()
        };
        thread::scope(|scope| {
            scope.spawn(enter).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn namespace_file(&self, host: Host) -> PathBuf {
        PathBuf::from("/run/netns").join(self.namespace(host))
    }

    fn ip_batch(&self, host: Host, lines: &[String]) -> Result<()> {
        let mut child = Command::new("ip")
            .args(["-n", &self.namespace(host), "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start ip")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(lines.join("\n").as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip on host {host}: {errors}\n{}", lines.join("\n"));
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in Host::BUILT.into_iter().chain([Guest, Neighbour]) {
            if self.namespace_file(host).exists() {
                remove(&self.namespace(host));
            }
        }
    }
}

/// One counter of the kernel's tables: two lines of each name, one with names and one with numbers.
fn counter(table: &str, line: &str, name: &str) -> Option<u64> {
    let mut lines =
        table.lines().map(str::split_whitespace).filter(|words| words.clone().next() == Some(line));
    let (names, numbers) = lines.next().zip(lines.next())?;
    names.zip(numbers).find(|(found, _)| *found == name)?.1.parse().ok()
}

/// No duplicate address detection, no router discovery, multicast reports at once instead of within seconds.
const SILENCE: &str = "
    cd /proc/sys/net
    for scope in all default; do
        echo 0 >ipv6/conf/$scope/accept_dad
        echo 0 >ipv6/conf/$scope/accept_ra
        echo 0 >ipv6/conf/$scope/router_solicitations
        echo 1 >ipv6/conf/$scope/mldv1_unsolicited_report_interval
        echo 1 >ipv6/conf/$scope/mldv2_unsolicited_report_interval
        echo 1 >ipv4/conf/$scope/igmpv3_unsolicited_report_interval
    done";

/// Namespaces of processes that were killed before they could clean up.
fn remove_leftovers() {
    let Ok(list) = output(Command::new("ip").args(["netns", "list"])) else { return };
    for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
        let mut parts = name.split('-');
        let ours = parts.next() == Some(PREFIX) && parts.clone().count() == 3;
        let Some(process) = parts.next().and_then(|part| part.parse::<u32>().ok()).filter(|_| ours) else {
            continue;
        };
        if !PathBuf::from(format!("/proc/{process}")).exists() {
            remove(name);
        }
    }
}

/// Ends what still runs in a namespace, and removes it. Failures are of no interest: it may never have existed.
fn remove(namespace: &str) {
    if !is_own(namespace) {
        end_processes(namespace);
    }
    let _ = output(Command::new("ip").args(["netns", "delete", namespace]));
}

/// Whether this process is in it. When that cannot be told, it is: then nobody is killed.
fn is_own(namespace: &str) -> bool {
    let inode = |path: &str| std::fs::metadata(path).map(|file| file.ino()).ok();
    inode("/proc/self/ns/net") == inode(&format!("/run/netns/{namespace}"))
}

fn end_processes(namespace: &str) {
    let pids = output(Command::new("ip").args(["netns", "pids", namespace])).unwrap_or_default();
    let pids: HashSet<i32> = pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs to the end and returns what it printed.
///
/// # Errors
///
/// With what the program complained about.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
