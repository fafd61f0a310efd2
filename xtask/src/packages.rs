//! Debian packages, and what each is for.

/// For every build and test, with the file it brings when it is a program (checked on other systems).
pub(crate) const PROGRAMS: &[(&str, &str)] = &[
    ("btrfs-progs", "mkfs.btrfs"), // end-to-end tests: a file system with quotas that count for root
    ("g++", "g++"),                // C and C++ parts of crates: zstd, libFuzzer
    ("chromium", "chromium"),      // end-to-end tests: the status page in a real browser
    ("curl", "curl"),              // end-to-end tests: HTTP clients and servers
    ("ethtool", "ethtool"),        // end-to-end tests: segmentation offload on and off
    ("iperf3", "iperf3"),          // end-to-end tests and bench: bulk traffic
    ("iproute2", "ip"),            // end-to-end tests: network namespaces
    ("iputils-ping", "ping"),      // end-to-end tests: ICMP
    ("nftables", "nft"),           // end-to-end tests and bench: rules beside the agent
    ("openssl", "openssl"),        // end-to-end tests: certificates
    ("procps", "ps"),              // end-to-end tests: processes
    ("prometheus", "promtool"),    // tests of the alerting rules
    ("prometheus-alertmanager", "prometheus-alertmanager"), // delivery tests: a receiver of alerts
    ("python3", "python3"),        // end-to-end tests: small clients and receivers
    ("python3-venv", "python3"), // another implementation of the ledger's formats, in a directory of its own
    ("rsync", "rsync"),          // demo: a backup that leaves the server
    ("rsyslog", "rsyslogd"),     // tests of sinks: a syslog server
    ("rsyslog-gnutls", "rsyslogd"), // the same with TLS
    ("util-linux", "unshare"),   // end-to-end tests: namespaces of their own
];

/// For `cargo xtask vm` and the part of it that `ci` runs.
///
/// QEMU is not among them: see `vm/emulator.rs`.
pub(crate) const VM: [(&str, &str); 1] = [
    ("kmod", "depmod"), // which modules need which, for a kernel unpacked from its package
];

/// For paths that the short selection leaves out.
pub(crate) const VM_PATHS: [(&str, &str); 3] = [
    ("ksmbd-tools", "ksmbd.mountd"), // the half of ksmbd that is not in the kernel
    ("nvme-cli", "nvme"),            // a client of NVMe over TCP
    ("wireguard-tools", "wg"),       // keys for a tunnel
];

/// For `cargo xtask package`.
pub(crate) const PACKAGE: [(&str, &str); 3] = [
    ("binutils", "strip"),          // symbols are four fifths of the program
    ("dpkg-dev", "dpkg-shlibdeps"), // which libraries the program needs
    ("rpm", "rpmbuild"),            // the other format
];

/// For `cargo xtask package --static`.
pub(crate) const STATIC: [(&str, &str); 1] = [
    ("musl-tools", "musl-gcc"), // C parts of crates
];

/// For `cargo xtask package --test`.
pub(crate) const PACKAGE_TRIAL: [(&str, &str); 1] = [
    ("debootstrap", "debootstrap"), // a bare system to install it on
];

/// The compiler for the BPF target and its clippy, of one version.
pub(crate) const COMPILER: [&str; 3] = ["rustc-web", "libstd-rust-web-dev-bpf", "rust-web-clippy"];

/// LLVM major versions that `bpf-linker` can be built with, best first.
///
/// The linker reads the bitcode of the compiler, so its LLVM must not be older: Debian's rustc 1.96 brings 22.
pub(crate) const LLVM_VERSIONS: [u32; 2] = [22, 23];

/// What `bpf-linker` links with.
pub(crate) fn llvm(version: u32) -> [String; 3] {
    [format!("llvm-{version}-dev"), format!("libpolly-{version}-dev"), "libzstd-dev".to_owned()]
}
