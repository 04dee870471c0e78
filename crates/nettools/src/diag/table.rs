//! `/proc/net/{tcp,tcp6,udp,udp6,unix}`: the same sockets if sock_diag is not available (a missing module, or a sandbox).
//! Missing there, and `None` here: round trips, total retransmissions, ages, memory, the backlog; for Unix sockets queues
//! and peers.
//!
//! ```text
//!   tcp   sl local rem st tx:rx timer:when retransmits uid timeout inode …
//!   udp   the same, with the datagrams that were dropped at the end
//!   unix  num: refcount protocol flags type st inode path
//! ```
//!
//! Other lines are skipped. A path of a Unix socket can contain a line end; the text after it is then read as another line,
//! which cannot be detected here.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::read;
use super::socket::{Address, Memory, Protocol, Socket, State, Timer};

/// Times are in hundredths of a second (`USER_HZ`).
const TICK_MS: u64 = 10;
/// `__SO_ACCEPTCON` of the kernel: a listening Unix socket.
const ACCEPTS: u32 = 1 << 16;

/// All sockets of a protocol.
pub(super) fn all(protocol: Protocol) -> io::Result<Vec<Socket>> {
    let (file, second) = match protocol {
        Protocol::Tcp => ("tcp", Some("tcp6")),
        Protocol::Udp => ("udp", Some("udp6")),
        Protocol::Unix => ("unix", None),
    };
    let mut found = read_one(file, protocol)?;
    match second.map_or(Ok(Vec::new()), |file| read_one(file, protocol)) {
        Ok(more) => found.extend(more),
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(found)
}

fn read_one(file: &str, protocol: Protocol) -> io::Result<Vec<Socket>> {
    Ok(sockets(&fs::read(format!("/proc/net/{file}"))?, protocol))
}

/// The sockets of one file, without its heading.
fn sockets(text: &[u8], protocol: Protocol) -> Vec<Socket> {
    let text = String::from_utf8_lossy(text);
    let socket = |line: &str| match protocol {
        Protocol::Tcp | Protocol::Udp => inet(line, protocol),
        Protocol::Unix => unix(line),
    };
    text.lines().skip(1).filter_map(socket).collect()
}

fn inet(line: &str, protocol: Protocol) -> Option<Socket> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, peer, state, queues, timer, fired, uid, _, inode, rest @ ..] = words.as_slice() else {
        return None;
    };
    let (local, peer) = (Address::Net(address(local)?), Address::Net(address(peer)?));
    let state = read::state(u8::from_str_radix(state, 16).ok()?)?;
    let (send_q, recv_q) = pair(queues)?;
    let inode = inode.parse().ok()?;
    // The only memory field of a datagram socket.
    let drops = (protocol == Protocol::Udp).then(|| rest.last()?.parse().ok()).flatten();
    Some(Socket {
        protocol,
        state,
        recv_q: Some(recv_q),
        // Always 0 for a listener: the backlog is unknown.
        send_q: (state != State::Listen).then_some(send_q),
        uid: uid.parse().ok().filter(|_| inode != 0),
        inode,
        cookie: cookie(protocol, &local, &peer, inode),
        timer: self::timer(timer, fired),
        tcp: None,
        memory: drops.map(|drops| Memory { receive: 0, receive_max: 0, send: 0, send_max: 0, drops }),
        local,
        peer,
    })
}

/// `0100007F:1F90`: the address in words of this machine's byte order, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let mut bytes = [0; 16];
    if !matches!(ip.len(), 8 | 32) || !ip.is_ascii() {
        return None;
    }
    for (word, digits) in bytes.chunks_exact_mut(4).zip(ip.as_bytes().chunks_exact(8)) {
        let number = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        word.copy_from_slice(&number.to_ne_bytes());
    }
    let [a, b, c, d, ..] = bytes;
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::new(a, b, c, d).into(),
        _ => Ipv6Addr::from(bytes).into(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// `00000000:000010E1`.
fn pair(text: &str) -> Option<(u32, u32)> {
    let (first, second) = text.split_once(':')?;
    Some((u32::from_str_radix(first, 16).ok()?, u32::from_str_radix(second, 16).ok()?))
}

fn timer(text: &str, fired: &str) -> Option<Timer> {
    let (kind, when) = text.split_once(':')?;
    let kind = match kind {
        "01" => "retransmit",
        "02" => "keepalive",
        "03" => "time-wait",
        "04" => "zero-window probe",
        _ => return None,
    };
    let fired = u32::from_str_radix(fired, 16).ok().filter(|_| kind == "retransmit").unwrap_or(0);
    let ticks = u64::from_str_radix(when, 16).ok()?;
    Some(Timer { kind, in_ms: ticks.saturating_mul(TICK_MS), fired: u8::try_from(fired).unwrap_or(u8::MAX) })
}

fn unix(line: &str) -> Option<Socket> {
    // The path is the rest of the line; it can contain spaces.
    let mut rest = line;
    let mut word = || {
        rest = rest.trim_start_matches(' ');
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after;
        word
    };
    let [number, _, _, flags, _, state, inode] = std::array::from_fn(|_| word());
    if !number.ends_with(':') {
        return None;
    }
    let listens = u32::from_str_radix(flags, 16).ok()? & ACCEPTS != 0;
    let state = match (listens, state) {
        (true, _) => State::Listen,
        // Connected, or not yet accepted.
        (false, "03" | "02") => State::Established,
        (false, _) => State::Unconnected,
    };
    let inode = inode.parse().ok()?;
    let local = Address::Unix((!rest.is_empty()).then(|| rest.to_owned()), inode);
    let peer = Address::Unix(None, 0);
    Some(Socket {
        protocol: Protocol::Unix,
        state,
        recv_q: None,
        send_q: None,
        uid: None,
        inode,
        cookie: cookie(Protocol::Unix, &local, &peer, inode),
        timer: None,
        tcp: None,
        memory: None,
        local,
        peer,
    })
}

/// Our own id for a socket, to recognise it the next time: the kernel's id is not in the table.
fn cookie(protocol: Protocol, local: &Address, peer: &Address, inode: u32) -> [u8; 8] {
    let mut hasher = DefaultHasher::new();
    (protocol as u8, local.to_string(), peer.to_string(), inode).hash(&mut hasher);
    hasher.finish().to_ne_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TCP: &[u8] = b"\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000002 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:000010E1 00:00000000 00000000     0        0 0 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:C350 0100007F:1F90 01 00000063:00000000 04:0000002A 00000000  1000        3 4712 2 0000000000000000 20 4 30 10 -1
   3: 0101A8C0:C351 086433C6:01BB 02 00000001:00000000 01:000000C8 00000003  1000        0 4713 2 0000000000000000 20 4 30 10 -1
   4: 0100007F:C352 0100007F:1F90 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000
";
    const TCP6: &[u8] = b"  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4714 1 0000000000000000 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:C353 08 00000000:00000001 00:00000000 00000000     0        0 4715 1 0000000000000000 20 4 30 10 -1
";
    const UDP: &[u8] = b"   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            
  215: 0100007F:1F91 00000000:0000 07 00000000:00000900 00:00000000 00000000     0        0 4716 2 0000000000000000 31        
";
    const UNIX: &[u8] = b"Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000003 00000000 00000000 0001 03 15165
0000000000000000: 00000002 00000000 00010000 0001 01  1600 /run/a b.sock
0000000000000000: 00000002 00000000 00000000 0002 01 14236 @/tmp/.X11
";

    /// The recorded lines come from a little-endian machine.
    fn lines(text: &[u8], protocol: Protocol) -> Vec<String> {
        let word = |queue: Option<u32>| queue.map_or("?".to_owned(), |queue| queue.to_string());
        let line = |s: Socket| {
            let timer = s.timer.map_or("-".to_owned(), |t| format!("{} {} {}", t.kind, t.in_ms, t.fired));
            let (recv, send, uid) = (word(s.recv_q), word(s.send_q), word(s.uid));
            let drops = word(s.memory.map(|memory| memory.drops));
            format!(
                "{} {} {recv} {send} {} {} {uid} {} {timer} {drops}",
                s.protocol, s.state, s.local, s.peer, s.inode
            )
        };
        sockets(text, protocol).into_iter().map(line).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_tables_are_read_and_missing_data_stays_none() {
        assert_eq!(
            lines(TCP, Protocol::Tcp),
            [
                "tcp listen 2 ? 127.0.0.1:8080 0.0.0.0:* 1000 4711 - ?",
                "tcp established 4321 0 127.0.0.1:8080 127.0.0.1:50000 ? 0 - ?",
                "tcp established 0 99 127.0.0.1:50000 127.0.0.1:8080 1000 4712 zero-window probe 420 0 ?",
                "tcp syn-sent 0 1 192.168.1.1:50001 198.51.100.8:443 1000 4713 retransmit 2000 3 ?",
                "tcp time-wait 0 0 127.0.0.1:50002 127.0.0.1:8080 ? 0 time-wait 60000 0 ?",
            ]
        );
        assert_eq!(
            lines(TCP6, Protocol::Tcp),
            [
                "tcp listen 0 ? [::1]:8080 [::]:* 0 4714 - ?",
                "tcp close-wait 1 0 [::ffff:127.0.0.1]:8080 [::ffff:127.0.0.1]:50003 0 4715 - ?",
            ]
        );
        assert_eq!(
            lines(UDP, Protocol::Udp),
            ["udp unconnected 2304 0 127.0.0.1:8081 0.0.0.0:* 0 4716 - 31"]
        );
        assert_eq!(
            lines(UNIX, Protocol::Unix),
            [
                "unix established ? ? * 15165 * ? 15165 - ?",
                "unix listen ? ? /run/a b.sock * ? 1600 - ?",
                "unix unconnected ? ? @/tmp/.X11 * ? 14236 - ?",
            ]
        );
    }

    #[test]
    fn invalid_lines_are_skipped() {
        for (text, protocol) in
            [(TCP, Protocol::Tcp), (TCP6, Protocol::Tcp), (UDP, Protocol::Udp), (UNIX, Protocol::Unix)]
        {
            let whole = sockets(text, protocol).len();
            for cut in 0..text.len() {
                assert!(sockets(&text[..cut], protocol).len() <= whole, "{protocol} cut at {cut}");
                let mut broken = text.to_vec();
                broken[cut] = 0xff;
                sockets(&broken, protocol);
            }
        }
    }
}
