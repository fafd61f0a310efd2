//! Kernels on which a path has to be possible: there, "not possible here" is a failure of the test.

use homeport_tests::kernel;

/// Beginnings and ends of a kernel's release, and what has to be possible on it.
const REQUIRED: &[(&str, &str, &[&str])] = &[(
    // Debian 13.
    "6.12.",
    "-amd64",
    &[
        "container_ipvlan",
        "mptcp",
        "sctp",
        "service_iscsi",
        "service_nfsd",
        "service_nvmet",
        "tcp_tls",
        "tunnel_geneve",
        "tunnel_gre",
        "tunnel_ip6tnl",
        "tunnel_ipip",
        "tunnel_ipsec",
        "tunnel_sit",
        "tunnel_vxlan",
        "tunnel_wireguard",
    ],
)];

pub(crate) fn is_required(path: &str) -> bool {
    let release = kernel::release();
    REQUIRED.iter().any(|(begin, end, paths)| {
        release.starts_with(begin) && release.ends_with(end) && paths.contains(&path)
    })
}
