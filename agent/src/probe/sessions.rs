//! Devices whose frames or packets leave through another interface by a session, which rtnetlink says nothing of: PPP over
//! Ethernet, PPP over L2TP, and pseudowires of L2TPv3.
//!
//! | what | told by |
//! |---|---|
//! | PPP over Ethernet | `/proc/net/pppoe`: sessions and their cards. Which device is whose is not in it, so all are, if there are as many sessions as devices |
//! | PPP over L2TP | `/proc/net/pppol2tp`, with the name of the device |
//! | frames over L2TPv3 (`l2tpeth`) | the family `l2tp` of generic netlink, with the name that the device was made with |
//!
//! What cannot be read is not there: then the device is taken for an edge, and said to be doubtful.

use std::{collections::HashSet, fs, io, path::Path};

use netlink_sys::{Socket, protocols::NETLINK_GENERIC};

use super::edge::{Link, Session};

/// Finds out which links are sessions, and through what they send.
pub(super) fn mark(links: &mut [Link]) {
    if links.iter().any(|link| link.kind == "ppp") {
        let read = |name| fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
        mark_ppp(links, &read("pppoe"), &read("pppol2tp"));
    }
    // Asking a family that is not there makes the kernel load it.
    if Path::new("/sys/module/l2tp_netlink").exists() {
        match pseudowires() {
            Ok(names) => mark_pseudowires(links, &names),
            Err(error) => tracing::debug!(%error, "pseudowires of L2TP cannot be asked for"),
        }
    }
}

fn mark_ppp(links: &mut [Link], over_ethernet: &str, over_l2tp: &str) {
    let over_l2tp: HashSet<&str> =
        over_l2tp.lines().filter_map(|line| line.trim().strip_prefix("interface ")).collect();
    // The first line names the columns.
    let cards: Vec<&str> =
        over_ethernet.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)).collect();
    let lower =
        cards.iter().find_map(|card| links.iter().find(|link| link.name == *card)).map(|link| link.index);
    let is_ppp = |link: &Link| link.kind == "ppp" && !over_l2tp.contains(link.name.as_str());
    let all_over_ethernet = links.iter().filter(|link| is_ppp(link)).count() <= cards.len();
    for link in links.iter_mut().filter(|link| link.kind == "ppp") {
        if over_l2tp.contains(link.name.as_str()) {
            link.session = Some(Session::Packets);
        } else if all_over_ethernet {
            link.session = Some(Session::Ethernet);
            link.lower = link.lower.or(lower);
        }
    }
}

fn mark_pseudowires(links: &mut [Link], names: &HashSet<String>) {
    for link in links.iter_mut().filter(|link| link.kind.is_empty() && names.contains(&link.name)) {
        link.session = Some(Session::Packets);
    }
}

/// The family that answers for all others.
const CONTROL: u16 = 0x10;
const CONTROL_GET_FAMILY: u8 = 3;
const CONTROL_FAMILY_ID: u16 = 1;
const CONTROL_FAMILY_NAME: u16 = 2;
const L2TP_SESSION_GET: u8 = 8;
const L2TP_IFNAME: u16 = 8;
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
/// The header of generic netlink follows that of netlink.
const ATTRIBUTES_AT: usize = 20;
/// As for `sock_diag`: the kernel fills at most 32 KiB at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// Names of the devices of all pseudowires in this network namespace.
fn pseudowires() -> io::Result<HashSet<String>> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    let mut name = 9_u16.to_ne_bytes().to_vec();
    name.extend(CONTROL_FAMILY_NAME.to_ne_bytes());
    name.extend(b"l2tp\0\0\0\0");
    let mut family = None;
    socket.send(&request(CONTROL, REQUEST, CONTROL_GET_FAMILY, &name), 0)?;
    read(&receive(&socket)?, |attributes| {
        family = attribute(attributes, CONTROL_FAMILY_ID)
            .and_then(|value| Some(u16::from_ne_bytes(value.try_into().ok()?)));
    })?;
    let family = family.ok_or(io::ErrorKind::NotFound)?;
    socket.send(&request(family, REQUEST | DUMP, L2TP_SESSION_GET, &[]), 0)?;
    let mut names = HashSet::new();
    let take = |names: &mut HashSet<String>, attributes: &[u8]| {
        let name = attribute(attributes, L2TP_IFNAME).and_then(|name| name.split(|byte| *byte == 0).next());
        names.extend(name.map(|name| String::from_utf8_lossy(name).into_owned()));
    };
    while !read(&receive(&socket)?, |attributes| take(&mut names, attributes))? {}
    Ok(names)
}

fn request(kind: u16, flags: u16, command: u8, attributes: &[u8]) -> Vec<u8> {
    let length = ATTRIBUTES_AT + attributes.len();
    let mut bytes = (length as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Sequence number and sender: nobody else uses this socket.
    bytes.extend([0; 8]);
    bytes.extend([command, 1, 0, 0]);
    bytes.extend(attributes);
    bytes
}

fn receive(socket: &Socket) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let length = socket.recv(&mut &mut buffer[..], 0)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// Hands the attributes of each message to `take`. True: that was the end.
fn read(mut bytes: &[u8], mut take: impl FnMut(&[u8])) -> io::Result<bool> {
    while let Some(header) = bytes.get(..HEADER) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let message = bytes.get(..length.max(HEADER)).ok_or(io::ErrorKind::UnexpectedEof)?;
        match u16::from_ne_bytes([header[4], header[5]]) {
            DONE => return Ok(true),
            ERROR => {
                let number = message.get(HEADER..HEADER + 4).and_then(|number| number.try_into().ok());
                return match number.map_or(0, i32::from_ne_bytes) {
                    0 => Ok(true),
                    number => Err(io::Error::from_raw_os_error(number.wrapping_neg())),
                };
            }
            _ => take(message.get(ATTRIBUTES_AT..).unwrap_or(&[])),
        }
        bytes = bytes.get(message.len().next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(false)
}

/// The value of the first attribute of that kind.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    const ATTRIBUTE_HEADER: usize = 4;
    loop {
        let header = bytes.get(..ATTRIBUTE_HEADER)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]])).max(ATTRIBUTE_HEADER);
        let whole = bytes.get(..length)?;
        if u16::from_ne_bytes([header[2], header[3]]) == wanted {
            return whole.get(ATTRIBUTE_HEADER..);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, kind: &str) -> Link {
        Link { index, name: name.to_owned(), kind: kind.to_owned(), ..Link::default() }
    }

    /// As the kernel wrote it for one session.
    const PPPOE: &str = "Id       Address              Device\n01000000 02:00:00:00:00:01     eth0\n";
    const L2TP: &str = "PPPoL2TP driver info, V2.0\nTUNNEL name, user-data-ok session-count\n  \
        SESSION name, addr/port src-tid/sid dest-tid/sid state user-data-ok\n  \
        SESSION 'sess' 7F000001/1701 0001/0001 -> 0001/0001 6 Y\n   interface ppp1\n";

    #[test]
    fn ppp_devices_are_told_by_what_they_go_through() {
        let mut links = [link(2, "eth0", ""), link(5, "ppp0", "ppp"), link(6, "ppp1", "ppp")];
        mark_ppp(&mut links, PPPOE, L2TP);
        assert_eq!(links[1].session, Some(Session::Ethernet));
        assert_eq!(links[1].lower, Some(2));
        assert_eq!((links[2].session, links[2].lower), (Some(Session::Packets), None));
        assert_eq!(links[0].session, None);
    }

    #[test]
    fn where_there_are_more_devices_than_sessions_none_is_believed_to_be_one() {
        let mut links = [link(2, "eth0", ""), link(5, "ppp0", "ppp"), link(6, "ppp1", "ppp")];
        mark_ppp(&mut links, PPPOE, "");
        assert!(links.iter().all(|link| link.session.is_none()));
        mark_ppp(&mut links, "", "");
        assert!(links.iter().all(|link| link.session.is_none()));
    }

    #[test]
    fn answers_are_read_and_nonsense_is_none() {
        let name = |name: &[u8]| {
            let mut bytes = ((name.len() + 4) as u16).to_ne_bytes().to_vec();
            bytes.extend(L2TP_IFNAME.to_ne_bytes());
            bytes.extend(name);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let mut answer = request(0x1c, 0, 0, &[&[6, 0, 7, 0, 5, 0, 0, 0][..], &name(b"l2tpeth0\0")].concat());
        let mut end = request(DONE, 0, 0, &[]);
        answer.append(&mut end);
        let mut names = Vec::new();
        let ended = read(&answer, |attributes| {
            names.extend(attribute(attributes, L2TP_IFNAME).map(<[u8]>::to_vec));
        });
        assert!(ended.expect("an answer"));
        assert_eq!(names, [b"l2tpeth0\0".to_vec()]);
        for length in 0..answer.len() {
            let _ = read(&answer[..length], |attributes| {
                let _ = attribute(attributes, L2TP_IFNAME);
            });
        }
        let mut refused = request(ERROR, 0, 0, &[])[..HEADER].to_vec();
        refused.extend((-2_i32).to_ne_bytes());
        refused[0] = 20;
        assert!(cfg!(target_endian = "big") || read(&refused, |_| {}).is_err());
    }

    #[test]
    fn pseudowires_have_no_kind() {
        let mut links = [link(2, "eth0", ""), link(3, "l2tpeth0", ""), link(4, "l2tpeth1", "vlan")];
        mark_pseudowires(&mut links, &["l2tpeth0".to_owned(), "l2tpeth1".to_owned()].into());
        assert_eq!(links.map(|link| link.session), [None, Some(Session::Packets), None]);
    }
}
