//! Who began a conversation, and which of its ports is the service's.

use std::{net::SocketAddr, ops::RangeInclusive};

use homeport_ebpf::slot::{INITIATOR_LOCAL, INITIATOR_REMOTE};

use crate::flow::{Actor, Initiator, Owner, Protocol};

/// `told` is what the programs saw, one of `INITIATOR_*`; `older` what is known of a socket that was there before them,
/// or whose listener was.
pub(super) fn initiator(
    told: u8,
    older: Option<Initiator>,
    protocol: Protocol,
    (local, remote): (SocketAddr, SocketAddr),
    owner: &Owner,
    ephemeral: &RangeInclusive<u16>,
) -> Initiator {
    match (told, protocol) {
        (INITIATOR_LOCAL, _) => Initiator::Local,
        (INITIATOR_REMOTE, _) => Initiator::Remote,
        (_, Protocol::TCP) => older.unwrap_or(Initiator::Unknown),
        (_, Protocol::ICMP | Protocol::ICMPV6) => by_actor(owner),
        // The kernel asks no program when SCTP connects.
        (_, Protocol::SCTP) if let Some(known @ (Initiator::Local | Initiator::Remote)) = older => known,
        // A datagram socket has no roles. The side with the well-known port is taken for the one that serves.
        _ if local.port() == 0 => Initiator::Unknown,
        _ if ephemeral.contains(&local.port()) => Initiator::Local,
        _ if ephemeral.contains(&remote.port()) => Initiator::Remote,
        _ => Initiator::Local,
    }
}

/// The port that clients ask for.
pub(super) fn service_port(
    initiator: Initiator,
    (local, remote): (SocketAddr, SocketAddr),
    ephemeral: &RangeInclusive<u16>,
) -> u16 {
    match initiator {
        Initiator::Local => remote.port(),
        Initiator::Remote => local.port(),
        Initiator::Unknown if ephemeral.contains(&local.port()) => remote.port(),
        Initiator::Unknown => local.port(),
    }
}

/// Processes ask, the kernel answers.
fn by_actor(owner: &Owner) -> Initiator {
    match owner.actor {
        Actor::Process(_) => Initiator::Local,
        Actor::Kernel(_) => Initiator::Remote,
        Actor::Forwarded | Actor::PacketSocket | Actor::Unowned => Initiator::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use homeport_ebpf::slot::INITIATOR_UNKNOWN;

    use super::*;

    const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

    #[track_caller]
    fn check(
        (told, older, protocol): (u8, Option<Initiator>, Protocol),
        ports: (u16, u16),
        expected: (Initiator, u16),
    ) {
        let ends =
            (SocketAddr::from(([192, 0, 2, 10], ports.0)), SocketAddr::from(([203, 0, 113, 10], ports.1)));
        let initiator = initiator(told, older, protocol, ends, &Owner::unowned(), &EPHEMERAL);
        assert_eq!((initiator, service_port(initiator, ends, &EPHEMERAL)), expected);
    }

    #[test]
    fn what_the_programs_saw_counts_most() {
        for protocol in [Protocol::TCP, Protocol::SCTP, Protocol::UDP] {
            let older = Some(Initiator::Unknown);
            check((INITIATOR_LOCAL, older, protocol), (40000, 9000), (Initiator::Local, 9000));
            check((INITIATOR_REMOTE, older, protocol), (8080, 40000), (Initiator::Remote, 8080));
        }
    }

    #[test]
    fn of_a_tcp_connection_nobody_guesses() {
        let tcp = Protocol::TCP;
        check((INITIATOR_UNKNOWN, None, tcp), (40000, 9000), (Initiator::Unknown, 9000));
        check((INITIATOR_UNKNOWN, Some(Initiator::Unknown), tcp), (40000, 9000), (Initiator::Unknown, 9000));
        check((INITIATOR_UNKNOWN, Some(Initiator::Remote), tcp), (8080, 40000), (Initiator::Remote, 8080));
    }

    #[test]
    fn an_sctp_association_is_told_by_its_listener_or_else_by_its_ports() {
        let sctp = Protocol::SCTP;
        check((INITIATOR_UNKNOWN, Some(Initiator::Remote), sctp), (8080, 9000), (Initiator::Remote, 8080));
        check((INITIATOR_UNKNOWN, None, sctp), (40000, 9000), (Initiator::Local, 9000));
        check((INITIATOR_UNKNOWN, None, sctp), (8080, 40000), (Initiator::Remote, 8080));
        // An older one that was not accepted from a listener that is still there.
        check((INITIATOR_UNKNOWN, Some(Initiator::Unknown), sctp), (40000, 9000), (Initiator::Local, 9000));
    }

    #[test]
    fn datagrams_are_told_by_their_ports() {
        let udp = Protocol::UDP;
        check((INITIATOR_UNKNOWN, None, udp), (40000, 53), (Initiator::Local, 53));
        check((INITIATOR_UNKNOWN, None, udp), (53, 40000), (Initiator::Remote, 53));
        check((INITIATOR_UNKNOWN, None, udp), (123, 123), (Initiator::Local, 123));
        check((INITIATOR_UNKNOWN, None, Protocol(253)), (0, 0), (Initiator::Unknown, 0));
    }
}
