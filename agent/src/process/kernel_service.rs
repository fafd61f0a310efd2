//! The names of kernel threads that serve data.

/// The service that a kernel thread of this command name belongs to; the name in itself when it is unknown.
pub(super) fn name(comm: &str) -> &str {
    /// Beginnings of thread names, as in the kernel's sources.
    const SERVICES: &[(&str, &str)] = &[
        ("nfsd", "nfsd"),
        ("lockd", "lockd"),
        ("iscsi_t", "iscsi"),
        ("iscsi_np", "iscsi"),
        ("ksmbd", "ksmbd"),
        ("nvmet", "nvmet"),
        ("nvme_tcp", "nvme-tcp"),
        ("wg-", "wireguard"),
        ("drbd", "drbd"),
        ("ceph", "ceph"),
        ("rpciod", "nfs-client"),
        ("cifsd", "cifs-client"),
        ("kworker", "kworker"),
        ("ksoftirqd", "softirq"),
    ];
    SERVICES.iter().find(|(prefix, _)| comm.starts_with(prefix)).map_or(comm, |(_, service)| service)
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn threads_are_named_after_their_service() {
        for (comm, service) in
            [("nfsd", "nfsd"), ("iscsi_ttx", "iscsi"), ("kworker/u8:3", "kworker"), ("odd", "odd")]
        {
            assert_eq!(name(comm), service);
        }
    }
}
