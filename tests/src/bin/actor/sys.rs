//! The system calls that no safe crate here wraps.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    ptr,
    sync::atomic::{AtomicU32, Ordering},
};

/// Which of the two processes runs on.
pub(crate) enum Fork {
    /// The one that called, with the id of the other.
    Parent(rustix::process::Pid),
    /// The other.
    Child,
}

/// A second process with the same sockets and the same program: no exec, so nothing announces its name again.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: the actor has one thread, so the child inherits no lock that somebody else holds.
    let pid = unsafe { libc::fork() };
    match rustix::process::Pid::from_raw(pid) {
        Some(pid) => Ok(Fork::Parent(pid)),
        None if pid == 0 => Ok(Fork::Child),
        None => Err(io::Error::last_os_error()),
    }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets a socket option whose value is a plain number or structure.
pub(crate) fn set_option<T: Copy>(socket: impl AsFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of `value`, which outlives the call.
    checked(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    })
}

/// Whatever the socket sends has options behind its IP header that mean nothing: of IPv4, or two extensions of IPv6.
pub(crate) fn set_ip_options(socket: impl AsFd, is_ipv4: bool) -> io::Result<()> {
    const NO_OPERATION: u8 = 1;
    /// Next header and length, which the kernel fills in; then padding of six bytes.
    const PADDING: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];
    if is_ipv4 {
        return set_option(socket, libc::IPPROTO_IP, libc::IP_OPTIONS, &[NO_OPERATION; 4]);
    }
    set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_HOPOPTS, &PADDING)?;
    set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, &PADDING)
}

/// Sets a socket option whose value is text.
pub(crate) fn set_text_option(socket: impl AsFd, level: i32, name: i32, value: &str) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of `value`, which outlives the call.
    checked(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    })
}

/// Reads where the rings of an AF_XDP socket are within its mappings.
pub(crate) fn xdp_offsets(socket: impl AsFd) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: integers, for which zero is a value.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&offsets) as libc::socklen_t;
    // SAFETY: pointer and length belong together, and the kernel writes no more than that.
    checked(unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_XDP,
            libc::XDP_MMAP_OFFSETS,
            (&raw mut offsets).cast(),
            &raw mut length,
        )
    })?;
    Ok(offsets)
}

/// Binds an AF_XDP socket to the first queue of an interface, in the mode that every driver has.
pub(crate) fn bind_xdp(socket: impl AsFd, ifindex: u32) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: libc::XDP_COPY,
        sxdp_ifindex: ifindex,
        sxdp_queue_id: 0,
        sxdp_shared_umem_fd: 0,
    };
    bind(socket.as_fd(), &address)
}

/// Binds a packet socket to an interface.
pub(crate) fn bind_packet(socket: impl AsFd, ifindex: u32) -> io::Result<()> {
    bind(socket.as_fd(), &packet_address(ifindex, [0; 6]))
}

fn vsock_address(cid: u32, port: u32) -> libc::sockaddr_vm {
    // SAFETY: integers, for which zero is a value.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as u16;
    address.svm_cid = cid;
    address.svm_port = port;
    address
}

/// Listens where virtual machines and their host reach each other.
pub(crate) fn listen_vsock(socket: impl AsFd, port: u32) -> io::Result<()> {
    bind(socket.as_fd(), &vsock_address(libc::VMADDR_CID_ANY, port))?;
    // SAFETY: plain numbers.
    checked(unsafe { libc::listen(socket.as_fd().as_raw_fd(), 1) })
}

/// Connects there.
pub(crate) fn connect_vsock(socket: impl AsFd, cid: u32, port: u32) -> io::Result<()> {
    let address = vsock_address(cid, port);
    // SAFETY: pointer and length are those of `address`.
    checked(unsafe {
        libc::connect(
            socket.as_fd().as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    })
}

/// Address of a session of PPP over Ethernet, as in `linux/if_pppox.h`.
#[repr(C, packed)]
struct SessionAddress {
    family: u16,
    /// Zero: over Ethernet.
    protocol: u32,
    /// In network order.
    session: u16,
    neighbour: [u8; 6],
    interface: [u8; 16],
}

/// Makes the socket one end of a session.
pub(crate) fn connect_session(
    socket: impl AsFd,
    session: u16,
    neighbour: [u8; 6],
    name: &str,
) -> io::Result<()> {
    let mut interface = [0; 16];
    for (to, from) in interface.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    let family = libc::AF_PPPOX as u16;
    let address = SessionAddress { family, protocol: 0, session: session.to_be(), neighbour, interface };
    // SAFETY: pointer and length are those of `address`.
    checked(unsafe {
        libc::connect(
            socket.as_fd().as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    })
}

/// The channel of a session, for `/dev/ppp` (PPPIOCGCHAN).
pub(crate) fn ppp_channel_of(socket: impl AsFd) -> io::Result<i32> {
    number_ioctl(socket, 0x8004_7437, 0)
}

/// Makes an open `/dev/ppp` that channel (PPPIOCATTCHAN).
pub(crate) fn attach_channel(ppp: impl AsFd, channel: i32) -> io::Result<()> {
    number_ioctl(ppp, 0x4004_7438, channel).map(drop)
}

/// Makes an open `/dev/ppp` a new device, and returns its number (PPPIOCNEWUNIT).
pub(crate) fn new_ppp_unit(ppp: impl AsFd) -> io::Result<i32> {
    number_ioctl(ppp, 0xc004_743e, -1)
}

/// The device sends through the channel (PPPIOCCONNECT).
pub(crate) fn connect_channel(ppp: impl AsFd, unit: i32) -> io::Result<()> {
    number_ioctl(ppp, 0x4004_743a, unit).map(drop)
}

/// A call that reads or writes one number.
fn number_ioctl(file: impl AsFd, request: libc::c_ulong, number: i32) -> io::Result<i32> {
    let mut number = number;
    // SAFETY: every caller names a request whose argument is a pointer to an `int`.
    checked(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), request, &raw mut number) })?;
    Ok(number)
}

fn bind<T>(socket: BorrowedFd<'_>, address: &T) -> io::Result<()> {
    // SAFETY: pointer and length are those of `address`.
    checked(unsafe {
        libc::bind(socket.as_raw_fd(), ptr::from_ref(address).cast(), size_of::<T>() as libc::socklen_t)
    })
}

/// Sends an IPv4 packet to a neighbour; the kernel writes the link header.
pub(crate) fn send_to_neighbour(
    socket: impl AsFd,
    ifindex: u32,
    neighbour: [u8; 6],
    packet: &[u8],
) -> io::Result<()> {
    let address = packet_address(ifindex, neighbour);
    // SAFETY: both pointers go with their lengths.
    let sent = unsafe {
        libc::sendto(
            socket.as_fd().as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn packet_address(ifindex: u32, neighbour: [u8; 6]) -> libc::sockaddr_ll {
    let mut address = [0; 8];
    address[..6].copy_from_slice(&neighbour);
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_IP as u16).to_be(),
        sll_ifindex: ifindex as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: address,
    }
}

/// Makes the open `/dev/net/tun` a device of that kind, `IFF_TAP` (frames) or `IFF_TUN` (packets).
pub(crate) fn become_device(tun: impl AsFd, name: &str, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: integers and bytes, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (kind | libc::IFF_NO_PI) as i16;
    // SAFETY: the request is what this call expects.
    checked(unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), libc::TUNSETIFF, &raw const request) })
}

/// Memory shared with the kernel, never given back: the actor ends soon.
#[derive(Clone, Copy)]
pub(crate) struct Shared {
    start: *mut u8,
    length: usize,
}

impl Shared {
    /// Memory of our own, or a window into what `file` offers.
    pub(crate) fn map(file: Option<(BorrowedFd<'_>, i64)>, length: usize) -> io::Result<Self> {
        let (fd, offset, kind) = match file {
            Some((fd, offset)) => (fd.as_raw_fd(), offset, libc::MAP_SHARED | libc::MAP_POPULATE),
            None => (-1, 0, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS),
        };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, wherever the kernel likes.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, protection, kind, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), length })
    }

    /// Where it begins, for the kernel.
    pub(crate) fn address(self) -> u64 {
        self.start as u64
    }

    /// Copies bytes into it.
    pub(crate) fn write(self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.length, "beyond the mapping");
        // SAFETY: in bounds by the line above; `bytes` is elsewhere.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at), bytes.len()) };
    }

    /// A number in it that the kernel reads or writes, too.
    pub(crate) fn number(&self, at: usize) -> &AtomicU32 {
        assert!(at + 4 <= self.length && at.is_multiple_of(4), "beyond the mapping");
        // SAFETY: in bounds and aligned by the line above; the mapping stays for the life of the process.
        unsafe { AtomicU32::from_ptr(self.start.add(at).cast()) }
    }

    /// Waits until the number has that value.
    pub(crate) fn reached(&self, at: usize, value: u32) -> bool {
        self.number(at).load(Ordering::Acquire) == value
    }
}
