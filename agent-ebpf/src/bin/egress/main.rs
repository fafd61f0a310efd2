//! homeport's programs in the kernel.
//!
//! They count, and they tell; they never change, delay or drop a packet: every hook ends with "let it pass".
//!
//! | program | hook | what for |
//! |---|---|---|
//! | `account_egress` | cgroup_skb/egress at the root cgroup | every packet of every local socket: bytes to slots |
//! | `stamp_connect4`, `stamp_connect6` | cgroup/connect4,6 | who opens, before the first packet |
//! | `stamp_bind4`, `stamp_bind6` | cgroup/post_bind4,6 | who listens; accepted sockets inherit it |
//! | `stamp_create` | cgroup/sock_create | who creates, on kernels without `sock_send_length` |
//! | `stamp_sender` | tp_btf/sock_send_length (6.3+) | who really sends |
//! | `close_socket` | cgroup/sock_release | sockets other than TCP end |
//! | `close_tcp` | tp_btf/tcp_destroy_sock | TCP sockets end, after their last packet |
//! | `frames_ethernet`, `frames_raw` | tc egress at edge interfaces | every frame: truth, and what has no socket |
//! | `host_exec`, `host_fork`, `host_exit`, `host_cgroup` | raw tracepoints | names, early enough |
//!
//! `current` is never asked in the egress hook: there it is whoever was interrupted by the packet.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
// A key that is given away is copied first, by a call that older verifiers do not follow.
#![allow(clippy::needless_borrows_for_generic_args)]

mod account;
mod asides;
mod frames;
mod host;
mod kernel;
mod maps;
mod owner;
mod packet;
mod tell;

use aya_ebpf::{
    macros::{btf_tracepoint, cgroup_skb, cgroup_sock, cgroup_sock_addr, classifier, raw_tracepoint},
    programs::{
        BtfTracePointContext, RawTracePointContext, SkBuffContext, SockAddrContext, SockContext, TcContext,
    },
};

/// What cgroup hooks return to let the packet, or the call, pass.
const PASS: i32 = 1;
/// TC_ACT_UNSPEC, the same number as TCX_NEXT: whatever would have happened without us.
const NEXT: i32 = -1;

#[cgroup_skb(egress)]
fn account_egress(ctx: SkBuffContext) -> i32 {
    account::account(ctx.skb.skb);
    PASS
}

#[cgroup_sock_addr(connect4)]
fn stamp_connect4(ctx: SockAddrContext) -> i32 {
    owner::stamp_opener(kernel::sock_of_address(&ctx));
    PASS
}

#[cgroup_sock_addr(connect6)]
fn stamp_connect6(ctx: SockAddrContext) -> i32 {
    owner::stamp_opener(kernel::sock_of_address(&ctx));
    PASS
}

#[cgroup_sock(post_bind4)]
fn stamp_bind4(ctx: SockContext) -> i32 {
    owner::stamp_binder(ctx.sock);
    PASS
}

#[cgroup_sock(post_bind6)]
fn stamp_bind6(ctx: SockContext) -> i32 {
    owner::stamp_binder(ctx.sock);
    PASS
}

#[cgroup_sock(sock_create)]
fn stamp_create(ctx: SockContext) -> i32 {
    owner::stamp_creator(ctx.sock);
    PASS
}

#[cgroup_sock(sock_release)]
fn close_socket(ctx: SockContext) -> i32 {
    owner::close_socket(ctx.sock);
    PASS
}

#[btf_tracepoint(function = "sock_send_length")]
fn stamp_sender(ctx: BtfTracePointContext) -> i32 {
    owner::stamp_sender(ctx.arg(0), ctx.arg(1));
    0
}

#[btf_tracepoint(function = "tcp_destroy_sock")]
fn close_tcp(ctx: BtfTracePointContext) -> i32 {
    owner::close_tcp(ctx.arg(0));
    0
}

#[classifier]
fn frames_ethernet(ctx: TcContext) -> i32 {
    frames::count_ethernet(ctx.skb.skb);
    NEXT
}

#[classifier]
fn frames_raw(ctx: TcContext) -> i32 {
    frames::count_raw(ctx.skb.skb);
    NEXT
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn host_exec(ctx: RawTracePointContext) -> i32 {
    host::exec(ctx.arg(2));
    0
}

#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn host_fork(ctx: RawTracePointContext) -> i32 {
    host::fork(ctx.arg(1));
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn host_exit(_ctx: RawTracePointContext) -> i32 {
    host::exit();
    0
}

#[raw_tracepoint(tracepoint = "cgroup_mkdir")]
fn host_cgroup(ctx: RawTracePointContext) -> i32 {
    host::cgroup(ctx.arg(0), ctx.arg(1));
    0
}

/// The verifier refuses a program that can reach this loop: a panic is a load error, not a surprise at run time.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Some helpers are lent to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
