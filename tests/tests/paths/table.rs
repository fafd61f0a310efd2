//! The table: one row, and one test, per way out.

use homeport_tests::lab::Family::{V4, V6};

use crate::{
    Owner::{Bypass, Forwarded, Kernel, Opener, PacketSocket, Process},
    Path,
    play::{cgroup, packet, raw, route, service, stacked, tcp, transit, tunnel, udp},
    run,
};

/// `name, "in words", expected owner, expected initiator, how it is played;` under the heading of its family.
macro_rules! paths {
    ($($group:literal: { $($name:ident, $title:literal, $owner:expr, $initiator:literal, $play:expr;)* })*) => {
        $($(
            #[test]
            fn $name() {
                run(&Path {
                    name: stringify!($name),
                    group: $group,
                    title: $title,
                    owner: $owner,
                    initiator: $initiator,
                    play: || $play,
                });
            }
        )*)*
    };
}

paths! {
    "TCP": {
        tcp_client, "client, write", Process, "local", tcp::push("tcp", "", "");
        tcp_sendfile, "client, sendfile", Process, "local", tcp::push("tcp", "", "--how sendfile");
        tcp_splice, "client, splice", Process, "local", tcp::push("tcp", "", "--how splice");
        tcp_io_uring, "client, io_uring", Process, "local", tcp::push("tcp", "", "--how io-uring");
        tcp_io_uring_polled, "client, io_uring with SQPOLL", Process, "local",
            tcp::push("tcp", "", "--how io-uring-polled");
        tcp_io_uring_uncopied, "client, io_uring send_zc", Process, "local",
            tcp::push("tcp", "", "--how io-uring-uncopied");
        tcp_uncopied, "client, MSG_ZEROCOPY", Process, "local", tcp::push("tcp", "", "--how uncopied");
        tcp_fast_open, "client, data in the SYN", Process, "local", tcp::fast_open();
        tcp_options, "client, with IP options", Process, "local", tcp::push("tcp", "", "--options");
        tcp_tls, "client, encrypted by the kernel", Process, "local", tcp::encrypted();
        tcp_accepted, "accepted session", Process, "remote", tcp::serve("plain");
        tcp_prefork, "accepted by a worker", Process, "remote", tcp::serve("prefork");
        tcp_fork, "accepted, then forked", Process, "remote", tcp::serve("fork");
        tcp_passed, "accepted, then passed to another process", Process, "remote", tcp::serve("pass");
        tcp_older, "connection older than the agent", Process, "unknown", tcp::older();
        tcp_cgroup_gone, "the same, its cgroup removed", Process, "unknown", tcp::cgroup_gone();
        tcp_process_gone, "its process has ended", Process, "local", tcp::process_gone();
        tcp_cgroup_moved, "its process moves between cgroups, which are removed", Process, "local", cgroup::moved();
        tcp_urgent, "client, with urgent data", Process, "local", tcp::push("tcp", "", "--how urgent");
        tcp_resets, "client, a storm of resets", Process, "local", tcp::resets();
        tcp_kept_alive, "client, idle, kept alive", Process, "local", tcp::kept_alive();
        tcp_zero_window, "client, the peer reads nothing for seconds", Process, "local",
            tcp::push("tcp", "--slow-ms 3000", "");
        tcp_lossy, "client, every twentieth packet is lost", Process, "local", tcp::lossy();
        tcp_crossing_ends, "both ends at once", Process, "local", tcp::crossing_ends();
        tcp_narrow_path, "client, a path that takes less than the link", Process, "local", route::narrow_stream();
    }
    "Like TCP": {
        mptcp, "MPTCP", Opener, "local", tcp::push("tcp", "--via mptcp", "--via mptcp");
        sctp, "SCTP", Process, "local", tcp::sctp();
    }
    "UDP": {
        udp_unconnected, "unconnected", Process, "local", udp::send("--size 1000 --count 200");
        udp_connected, "connected", Process, "local", udp::send("--size 1000 --count 200 --connected");
        udp_many, "sendmmsg", Process, "local", udp::send("--size 1000 --count 200 --how many");
        udp_io_uring, "io_uring", Process, "local",
            udp::send("--size 1000 --count 200 --connected --how io-uring");
        udp_segmented, "cut by the kernel (UDP_SEGMENT)", Process, "local",
            udp::send("--size 12000 --count 20 --segment 1200");
        udp_fragmented, "longer than the link, fragmented", Process, "local", udp::send("--size 60000 --count 10");
        udp_fragmented_options, "the same, with IP options", Process, "local",
            udp::send("--size 60000 --count 10 --options");
        udp_fragmented_route, "longer than the route, fragmented", Process, "local",
            udp::send_on_narrow_route("--size 60000 --count 10");
        udp_narrow_path, "longer than the path", Process, "local", route::narrow_datagrams();
        udp_narrow_path_fragmented, "longer than link and path, fragmented", Process, "local",
            route::narrow_fragments("");
        udp_narrow_path_ignored, "the same, for the link (IP_PMTUDISC_OMIT)", Process, "local",
            route::narrow_fragments("--discover 5");
        udp_lite, "UDP-Lite", Process, "local", udp::lite();
        udp_multicast, "multicast", Process, "local", udp::to_groups(&[("239.1.2.3", None), ("ff05::77", None)], "");
        udp_multicast_looped, "multicast, with copies for ourselves", Process, "local",
            udp::to_groups(&[("239.1.2.4", None), ("ff05::78", None)], "--join");
        udp_multicast_link, "multicast that stays on the link", Process, "local",
            udp::to_groups(&[("224.0.0.77", Some("local"))], "");
        udp_broadcast, "broadcast", Process, "local", udp::to_groups(&[("192.0.2.255", None)], "");
    }
    "Raw IP and ICMP": {
        raw_ip, "raw socket", Process, "unknown", raw::send("", &[V4, V6]);
        raw_header_included, "raw socket, own header", Process, "unknown", raw::send("--source 192.0.2.10", &[V4]);
        raw_spoofed, "raw socket, false source address", Process, "unknown",
            raw::send("--source 198.51.100.99", &[V4]);
        ping_socket, "ping socket", Process, "local", raw::ping_socket();
        kernel_echo_reply, "the kernel answers a ping", Kernel("icmp"), "remote", raw::echo_replies();
        kernel_unreachable, "the kernel says that nobody listens", Kernel("icmp"), "remote", raw::unreachable();
        kernel_reset, "the kernel resets", Kernel("tcp"), "remote", raw::resets();
    }
    "Several cards and routes": {
        route_by_source, "a table of routes for an address", Process, "local", route::by_source();
        route_by_mark, "a table of routes for a mark", Process, "local", route::by_mark();
        route_by_device, "a socket bound to an interface", Process, "local", route::by_device();
        route_multipath, "a route with two next hops", Process, "local", route::multipath();
        route_asymmetric, "answers come in elsewhere", Process, "local", route::asymmetric();
        route_changed, "a connection changes the card", Process, "local", route::rerouted();
    }
    "Devices on top of cards": {
        stacked_vlan, "VLAN", Process, "local", stacked::through(&stacked::VLAN);
        stacked_vlan_kernel, "VLAN, tags by the kernel", Process, "local", stacked::through(&stacked::VLAN_BY_KERNEL);
        stacked_vlan_frame, "VLAN, tags by the device", Process, "local", stacked::through(&stacked::VLAN_IN_FRAME);
        stacked_vlan_vlan, "VLAN in VLAN (802.1ad)", Process, "local", stacked::through(&stacked::VLAN_IN_VLAN);
        stacked_bond, "bond", Process, "local", stacked::through(&stacked::BOND);
        stacked_bridge, "bridge", Process, "local", stacked::through(&stacked::BRIDGE);
        stacked_vrf, "VRF", Process, "local", stacked::through(&stacked::VRF);
        stacked_vrf_queued, "VRF with a queue", Process, "local", stacked::through(&stacked::VRF_QUEUED);
        stacked_macsec, "MACsec", Process, "local", stacked::through(&stacked::MACSEC);
        stacked_pppoe, "PPP over Ethernet", Process, "local", stacked::session();
    }
    "Packet sockets": {
        packet_raw, "AF_PACKET, whole frames", PacketSocket, "unknown", packet::counted("");
        packet_datagram, "AF_PACKET, link header by the kernel", PacketSocket, "unknown",
            packet::counted("--datagram");
        packet_bypass, "AF_PACKET with PACKET_QDISC_BYPASS", Bypass, "unknown",
            packet::past_everything("frame-send --bypass");
        xdp, "AF_XDP", Bypass, "unknown", packet::past_everything("xdp-send");
    }
    "Containers and virtual machines": {
        container_bridge, "container behind a bridge", Forwarded, "unknown", transit::container(false);
        container_translated, "the same, with NAT", Forwarded, "unknown", transit::container(true);
        container_macvlan, "container on macvlan", Forwarded, "unknown", transit::stacked("macvlan mode bridge");
        container_ipvlan, "container on ipvlan", Forwarded, "unknown", transit::stacked("ipvlan mode l2");
        virtual_machine, "virtual machine (tap)", Forwarded, "unknown", transit::machine("");
        virtual_machine_uncut, "the same, large buffers", Forwarded, "unknown", transit::machine("--segments 20");
        virtual_machine_bridged, "virtual machine behind a bridge", Forwarded, "unknown",
            transit::bridged_machine("");
        virtual_machine_bridged_uncut, "the same, large buffers", Forwarded, "unknown",
            transit::bridged_machine("--segments 20");
    }
    "Tunnels made on the host": {
        tunnel_vxlan, "VXLAN", Kernel("udp-tunnel"), "unknown", tunnel::through(&tunnel::VXLAN);
        tunnel_geneve, "Geneve", Kernel("udp-tunnel"), "unknown", tunnel::through(&tunnel::GENEVE);
        tunnel_vxlan6, "VXLAN over IPv6", Kernel("udp-tunnel"), "unknown", tunnel::through(&tunnel::VXLAN6);
        tunnel_gre, "GRE", Kernel("gre"), "unknown", tunnel::through(&tunnel::GRE);
        tunnel_gretap, "GRE with Ethernet", Kernel("gre"), "unknown", tunnel::through(&tunnel::GRETAP);
        tunnel_ip6gretap, "the same over IPv6", Kernel("gre"), "unknown", tunnel::through(&tunnel::IP6GRETAP);
        tunnel_l2tp, "L2TPv3 in UDP", Kernel("udp-tunnel"), "unknown", tunnel::through(&tunnel::L2TP);
        tunnel_l2tp_ip, "L2TPv3 in IP", Kernel("l2tp"), "unknown", tunnel::through(&tunnel::L2TP_IP);
        tunnel_fou, "IPIP in UDP (FOU)", Kernel("udp-tunnel"), "unknown", tunnel::through(&tunnel::FOU);
        tunnel_gue, "IPIP in UDP (GUE)", Kernel("udp-tunnel"), "unknown", tunnel::through(&tunnel::GUE);
        tunnel_ip6gre, "GRE over IPv6", Kernel("gre"), "unknown", tunnel::through(&tunnel::IP6GRE);
        tunnel_ipip, "IPIP", Kernel("ipip"), "unknown", tunnel::through(&tunnel::IPIP);
        tunnel_sit, "6in4", Kernel("ip6-tunnel"), "unknown", tunnel::through(&tunnel::SIT);
        tunnel_ip6tnl, "IPv6 in IPv6", Kernel("ip6-tunnel"), "unknown", tunnel::through(&tunnel::IP6TNL);
        tunnel_wireguard, "WireGuard", Kernel("udp-tunnel"), "unknown", tunnel::through(&tunnel::WIREGUARD);
        tunnel_process, "VPN of a process (tun)", Process, "local", tunnel::of_a_process();
        tunnel_ipsec, "IPsec (ESP)", Process, "local", tunnel::encrypted();
        tunnel_ipsec_device, "IPsec with a device", Process, "local", tunnel::encrypted_by_device();
        tunnel_ipsec_udp, "IPsec (ESP in UDP)", Process, "local", tunnel::encrypted_in_datagrams();
    }
    "Servers inside the kernel": {
        service_nfsd, "nfsd (NFS 4.2)", Kernel("nfsd"), "remote", service::read_from(&service::NFSD);
        service_nvmet, "NVMe/TCP target", Kernel("nvmet"), "remote", service::read_from(&service::NVMET);
        service_iscsi, "iSCSI target (LIO)", Kernel("iscsi"), "remote", service::read_from(&service::ISCSI);
        service_ksmbd, "ksmbd (SMB 3)", Kernel("ksmbd"), "remote", service::read_from(&service::KSMBD);
    }
}
