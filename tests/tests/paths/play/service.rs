//! Servers inside the kernel, set up by hand on the storage host, and real clients abroad that read from them.
//!
//! Most of their tools are not needed: the kernel is told through its own files what the tools would tell it.

use std::process::Command;

use anyhow::{Context as _, Result};
use homeport_tests::{
    actor::{Impossible, Sent},
    lab::{Family, Host, Lab, Nic, output},
};

use super::possible;
use crate::{Part, Payload, Played, stage::Stage};

/// What each client reads.
const BYTES: u64 = 4 * 1024 * 1024;

/// A server in the kernel.
pub(crate) struct Service {
    /// Lines of shell that start it on the storage host, at `$SERVER`. Whether it is possible is found out here.
    start: &'static str,
    /// Lines of shell that make a client at `$CLIENT` read everything.
    read: &'static str,
    /// Lines of shell for the client's host, then for the server's, that end it all.
    stop: [&'static str; 2],
    /// Of one that serves nobody but what is in the first network namespace: lines of shell that find out whether it is
    /// possible, before anything is changed there.
    in_first_namespace: Option<&'static str>,
}

/// NFS 4.2 alone (older versions ask for a port mapper), with one export, without the daemon that answers the kernel's questions: they are answered beforehand.
pub(crate) const NFSD: Service = Service {
    start: "modprobe nfsd; modprobe nfsv4; exported=/run/homeport-nfs; mkdir -p $exported
        mount -t tmpfs export $exported; head -c 4194304 /dev/urandom >$exported/file
        mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
        forever=2147483647
        echo nfsd $CLIENT $forever everybody >/proc/net/rpc/auth.unix.ip/channel
        echo everybody 1 '\\x00000000' $forever $exported >/proc/net/rpc/nfsd.fh/channel
        echo everybody $exported $forever 9219 65534 65534 0 >/proc/net/rpc/nfsd.export/channel
        echo -3 >/proc/fs/nfsd/versions; echo -2 >/proc/fs/nfsd/versions 2>/dev/null || true
        echo tcp 2049 >/proc/fs/nfsd/portlist
        echo 4 >/proc/fs/nfsd/threads
        echo Y >/proc/fs/nfsd/v4_end_grace || true",
    read: "mkdir -p /run/homeport-mnt
        mount -i -t nfs4 -o vers=4.2,addr=$SERVER,clientaddr=$CLIENT,sec=sys $SERVER:/ /run/homeport-mnt
        cat /run/homeport-mnt/file >/dev/null",
    stop: ["umount /run/homeport-mnt", "echo 0 >/proc/fs/nfsd/threads; umount /run/homeport-nfs"],
    in_first_namespace: None,
};

/// NVMe over TCP, with a file as its disk.
pub(crate) const NVMET: Service = Service {
    start: "modprobe nvmet-tcp; modprobe nvme-tcp
        mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
        head -c 4194304 /dev/urandom >/run/homeport-disk
        cd /sys/kernel/config/nvmet
        mkdir subsystems/homeport; cd subsystems/homeport; echo 1 >attr_allow_any_host
        mkdir namespaces/1; cd namespaces/1
        echo /run/homeport-disk >device_path; echo 1 >buffered_io; echo 1 >enable
        cd /sys/kernel/config/nvmet; mkdir ports/1; cd ports/1
        echo tcp >addr_trtype; echo ipv4 >addr_adrfam; echo $SERVER >addr_traddr; echo 4420 >addr_trsvcid
        ln -s /sys/kernel/config/nvmet/subsystems/homeport subsystems/homeport",
    read: "nvme connect --transport=tcp --traddr=$SERVER --trsvcid=4420 --nqn=homeport --nr-io-queues=1
        for try in $(seq 600); do disk=$(ls /dev/nvme*n1 2>/dev/null | head -1) && [ -b \"$disk\" ] && break; sleep 0.1; done
        dd if=$disk of=/dev/null bs=1M count=4 iflag=direct 2>/dev/null",
    stop: [
        "for controller in /sys/class/nvme/nvme*; do echo 1 >$controller/delete_controller; done",
        "cd /sys/kernel/config/nvmet; rm ports/1/subsystems/homeport; rmdir ports/1
         rmdir subsystems/homeport/namespaces/1 subsystems/homeport",
    ],
    in_first_namespace: None,
};

/// iSCSI, with a disk in memory that everybody may read.
pub(crate) const ISCSI: Service = Service {
    start: "modprobe iscsi_target_mod
        mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
        cd /sys/kernel/config/target; mkdir -p core/rd_mcp_0/disk
        echo rd_pages=1024 >core/rd_mcp_0/disk/control; echo 1 >core/rd_mcp_0/disk/enable
        name=iqn.2026-11.test.homeport:disk
        mkdir -p iscsi/$name/tpgt_1/np/$SERVER:3260 iscsi/$name/tpgt_1/lun/lun_0; cd iscsi/$name/tpgt_1
        ln -s /sys/kernel/config/target/core/rd_mcp_0/disk lun/lun_0/disk
        echo 0 >attrib/authentication; echo 1 >attrib/generate_node_acls; echo 1 >enable",
    read: "python3 -c \"$INITIATOR\" $SERVER iqn.2026-11.test.homeport:disk",
    stop: [
        "true",
        "cd /sys/kernel/config/target; name=iqn.2026-11.test.homeport:disk
         echo 0 >iscsi/$name/tpgt_1/enable; rm iscsi/$name/tpgt_1/lun/lun_0/disk
         rmdir iscsi/$name/tpgt_1/lun/lun_0 iscsi/$name/tpgt_1/np/* iscsi/$name/tpgt_1 iscsi/$name
         rmdir core/rd_mcp_0/disk core/rd_mcp_0",
    ],
    in_first_namespace: None,
};

/// SMB, with a share in memory and a user of its own.
///
/// Debian's 6.1.192 with ksmbd-tools 3.4.7 tells the client that there is no such share; with 3.5.3 a mount gets further,
/// and the kernel panics in `smb2_open`, whatever the version of the protocol. So there is no row on 6.1.
///
/// It listens at interfaces of the machine's first network namespace alone, and its daemon has to be there.
pub(crate) const KSMBD: Service = Service {
    start: "modprobe cifs; shared=/run/homeport-smb; mkdir -p $shared
        mount -t tmpfs share $shared; head -c 4194304 /dev/urandom >$shared/file
        settings=/run/homeport-smb.conf; users=/run/homeport-smb.users
        printf '[share]\\npath = %s\\nread only = yes\\n' $shared >$settings; : >$users
        ksmbd.adduser -c $settings -i $users -a backup -p secret >/dev/null
        ksmbd.mountd -n0 -c $settings -u $users >/dev/null
        for try in $(seq 600); do grep -q running /sys/class/ksmbd-control/stats 2>/dev/null && break; sleep 0.1; done
        for try in $(seq 600); do ss -Hltn 'sport = 445' | grep -q . && break; sleep 0.1; done
        ss -Hltn 'sport = 445' | grep -q . || { echo 'ksmbd does not listen' >&2; false; }",
    read: "mkdir -p /run/homeport-mnt
        mount -i -t cifs -o vers=3.0,ip=$SERVER,username=backup,password=secret //$SERVER/share /run/homeport-mnt
        cat /run/homeport-mnt/file >/dev/null",
    stop: [
        "umount /run/homeport-mnt",
        "echo hard >/sys/class/ksmbd-control/kill_server; umount /run/homeport-smb",
    ],
    in_first_namespace: Some("case $(uname -r) in
            6.1.*) echo 'ksmbd of this kernel (6.1.192) takes no share of the tools of Debian 12, and panics with later ones' >&2; false;;
        esac
        modprobe ksmbd"),
};

/// A client of iSCSI that can log in and read.
const INITIATOR: &str = r#"
import socket, struct, sys
server, name = sys.argv[1:]
link = socket.create_connection((server, 3260))
def send(header, data=b''):
    header = bytearray(header.ljust(48, b'\0'))
    header[5:8] = len(data).to_bytes(3, 'big')
    link.sendall(bytes(header) + data + b'\0' * (-len(data) % 4))
def take(length):
    data = b''
    while len(data) < length:
        part = link.recv(length - len(data))
        assert part, 'the target hung up'
        data += part
    return data
def answer():
    header = take(48)
    length = int.from_bytes(header[5:8], 'big')
    return header, take(length + -length % 4)[:length]
words = {'InitiatorName': 'iqn.2026-11.test.homeport:client', 'TargetName': name, 'SessionType': 'Normal',
    'HeaderDigest': 'None', 'DataDigest': 'None', 'MaxRecvDataSegmentLength': '262144',
    'InitialR2T': 'Yes', 'ImmediateData': 'No', 'MaxBurstLength': '262144', 'FirstBurstLength': '65536'}
group, status_number, offered = 0, -1, dict(words)
while offered is not None:
    send(struct.pack('>BBBB4s6sHIHHII', 0x43, 0x87, 0, 0, b'', b'\x80\0\0\0\0\1', group, 1, 0, 0, 1, status_number + 1),
        b''.join(f'{key}={value}\0'.encode() for key, value in offered.items()))
    header, data = answer()
    assert header[0] & 0x3f == 0x23 and header[36] == 0, (header[36:38], data)
    group, status_number = int.from_bytes(header[14:16], 'big'), int.from_bytes(header[24:28], 'big')
    # What the target proposes by itself is fine with us.
    pairs = dict(pair.split('=', 1) for pair in data.decode().split('\0') if pair)
    offered = {key: value for key, value in pairs.items() if key not in words}
    words.update(offered)
    offered = None if header[1] & 0x80 else offered
blocks, at, number, refused = 256, 0, 1, 0
while at < 8192:
    command = struct.pack('>BBIBHB', 0x28, 0, at, 0, blocks, 0)
    number += 1
    send(struct.pack('>BBHB3s8sIIII16s', 0x01, 0xc1, 0, 0, b'', b'\0' * 8, number, blocks * 512, number - 1,
        status_number + 1, command))
    while True:
        header, data = answer()
        if header[0] & 0x3f == 0x21 or (header[0] & 0x3f == 0x25 and header[1] & 1):
            # The first answer may be that something has changed, as after any reset.
            refused += header[3] != 0
            assert refused < 4, ('status', header[3], data)
            status_number = int.from_bytes(header[24:28], 'big')
            break
    at += blocks if header[3] == 0 else 0
"#;

/// A client abroad reads everything from it.
pub(crate) fn read_from(service: &Service) -> Result<Played> {
    let lab = match service.in_first_namespace {
        Some(question) => {
            possible(output(Command::new("sh").args(["-ec", question])).map(drop))?;
            Lab::in_first_namespace().map_err(|error| Impossible(format!("{error:#}")))?
        }
        None => Lab::new()?,
    };
    let (server, client) = (Host::Storage.address(Family::V4), Host::Foreign.address(Family::V4));
    let variables = format!("SERVER={server} CLIENT={client}");
    possible(lab.shell(Host::Storage, &format!("{variables}\n{}", service.start)))?;
    let stage = Stage::own(lab)?;
    let read = format!("{variables} INITIATOR='{}'\n{}", INITIATOR.replace('\'', r"'\''"), service.read);
    let outcome = stage.lab.shell(Host::Foreign, &read).context("the client reads");
    // What is set up here outlives the namespaces of the lab, also when something failed.
    let [client_stop, server_stop] = service.stop;
    let stopped = stage.lab.shell(Host::Foreign, client_stop);
    let stopped = stopped.and(stage.lab.shell(Host::Storage, server_stop));
    outcome.and(stopped)?;
    let sent = Sent { pid: 0, bytes: BYTES };
    let part = Part { payload: Payload::AtLeast, ..Part::new(client, "tcp", sent) };
    Ok(Played { stage, parts: vec![part], bypass: Nic::default(), _keep: Vec::new() })
}
