//! The filter that the kernel runs for each packet (classic BPF), so that only wanted packets are copied.
//!
//! ```text
//! interface? ─▶ loopback: only the incoming copy ─▶ IPv4 or IPv6, TCP or UDP ─▶ either port? ─▶ accept
//! ```
//!
//! Packets begin with their IP header here. As with tcpdump's `port N`, a fragment after the first one has no port and
//! does not match, nor does a packet with IPv6 extension headers.

use socket2::SockFilter;

/// Most ports of one filter: jumps reach 255 instructions.
pub const PORTS_MAX: usize = 32;

/// Accepts whole packets.
const WHOLE: u32 = u32::MAX;

/// Instructions of classic BPF (linux/bpf_common.h).
mod code {
    pub(super) const LOAD_WORD: u16 = 0x20;
    pub(super) const LOAD_HALF: u16 = 0x28;
    pub(super) const LOAD_BYTE: u16 = 0x30;
    /// X = length of the IPv4 header at this offset.
    pub(super) const LOAD_X_HEADER: u16 = 0xb1;
    pub(super) const LOAD_HALF_BEHIND_X: u16 = 0x48;
    pub(super) const JUMP_IF_EQUAL: u16 = 0x15;
    pub(super) const JUMP_IF_BITS: u16 = 0x45;
    pub(super) const RETURN: u16 = 0x06;
}

/// What the kernel knows about a packet besides its bytes (linux/filter.h).
mod about {
    pub(super) const ETHER_TYPE: u32 = 0xffff_f000;
    pub(super) const DIRECTION: u32 = 0xffff_f004;
    pub(super) const INTERFACE: u32 = 0xffff_f008;
    pub(super) const DEVICE: u32 = 0xffff_f01c;
}

/// `ARPHRD_LOOPBACK`.
const LOOPBACK: u32 = 772;
/// `PACKET_OUTGOING`.
const OUTGOING: u32 = 4;
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const TCP: u32 = 6;
const UDP: u32 = 17;
const FRAGMENT_OFFSET: u32 = 0x1fff;

/// A target of a jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Next,
    Incoming,
    Ipv4,
    Ipv4Ports,
    Ipv6,
    Ipv6Ports,
    Accept,
    Reject,
}

enum Step {
    Place(To),
    Do(u16, u32),
    Jump(u16, u32, To, To),
}

/// Accepts packets of these ports (empty: all packets) on this interface (`None`: every one).
pub(super) fn program(ports: &[u16], interface: Option<u32>) -> Vec<SockFilter> {
    let equal = |k: u32, yes: To, no: To| Step::Jump(code::JUMP_IF_EQUAL, k, yes, no);
    let mut steps = Vec::new();
    if let Some(number) = interface {
        steps.push(Step::Do(code::LOAD_WORD, about::INTERFACE));
        steps.push(equal(number, To::Next, To::Reject));
    }
    steps.extend([
        // On loopback each packet passes twice: sent and received.
        Step::Do(code::LOAD_WORD, about::DEVICE),
        equal(LOOPBACK, To::Next, To::Incoming),
        Step::Do(code::LOAD_WORD, about::DIRECTION),
        equal(OUTGOING, To::Reject, To::Next),
        Step::Place(To::Incoming),
    ]);
    if !ports.is_empty() {
        steps.extend([
            Step::Do(code::LOAD_WORD, about::ETHER_TYPE),
            equal(IPV4, To::Ipv4, To::Next),
            equal(IPV6, To::Ipv6, To::Reject),
            Step::Place(To::Ipv4),
            Step::Do(code::LOAD_BYTE, 9),
            equal(TCP, To::Ipv4Ports, To::Next),
            equal(UDP, To::Next, To::Reject),
            Step::Place(To::Ipv4Ports),
            Step::Do(code::LOAD_HALF, 6),
            Step::Jump(code::JUMP_IF_BITS, FRAGMENT_OFFSET, To::Reject, To::Next),
            Step::Do(code::LOAD_X_HEADER, 0),
        ]);
        either_port(&mut steps, ports, [(code::LOAD_HALF_BEHIND_X, 0), (code::LOAD_HALF_BEHIND_X, 2)]);
        steps.extend([
            Step::Place(To::Ipv6),
            Step::Do(code::LOAD_BYTE, 6),
            equal(TCP, To::Ipv6Ports, To::Next),
            equal(UDP, To::Next, To::Reject),
            Step::Place(To::Ipv6Ports),
        ]);
        either_port(&mut steps, ports, [(code::LOAD_HALF, 40), (code::LOAD_HALF, 42)]);
        steps.push(Step::Place(To::Reject));
        steps.push(Step::Do(code::RETURN, 0));
        steps.push(Step::Place(To::Accept));
        steps.push(Step::Do(code::RETURN, WHOLE));
    } else {
        steps.push(Step::Do(code::RETURN, WHOLE));
        steps.push(Step::Place(To::Reject));
        steps.push(Step::Do(code::RETURN, 0));
    }
    assemble(&steps)
}

/// Rejects every packet.
pub(super) fn nothing() -> Vec<SockFilter> {
    assemble(&[Step::Do(code::RETURN, 0)])
}

/// Accepts if one of two fields is one of these ports, and otherwise rejects.
fn either_port(steps: &mut Vec<Step>, ports: &[u16], fields: [(u16, u32); 2]) {
    for (load, at) in fields {
        steps.push(Step::Do(load, at));
        let is_port = |port: &u16| Step::Jump(code::JUMP_IF_EQUAL, u32::from(*port), To::Accept, To::Next);
        steps.extend(ports.iter().map(is_port));
    }
    if let Some(Step::Jump(_, _, _, otherwise)) = steps.last_mut() {
        *otherwise = To::Reject;
    }
}

fn assemble(steps: &[Step]) -> Vec<SockFilter> {
    let is_code = |step: &&Step| !matches!(step, Step::Place(_));
    let place = |to: To| {
        let until = steps.iter().take_while(|step| !matches!(step, Step::Place(here) if *here == to));
        until.filter(is_code).count()
    };
    let instruction = |(at, step): (usize, &Step)| {
        let jump = |to: To| match to {
            To::Next => 0,
            to => u8::try_from(place(to) - at - 1).expect("a filter has at most PORTS_MAX ports"),
        };
        match *step {
            Step::Do(code, k) => SockFilter::new(code, 0, 0, k),
            Step::Jump(code, k, yes, no) => SockFilter::new(code, jump(yes), jump(no), k),
            Step::Place(_) => unreachable!("filtered out"),
        }
    };
    steps.iter().filter(is_code).enumerate().map(instruction).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_reach_the_end_of_the_longest_filter() {
        let ports: Vec<u16> = (1..=PORTS_MAX as u16).collect();
        assert!(program(&ports, Some(1)).len() < 256);
        assert_eq!((program(&[], None).len(), program(&[], Some(1)).len(), nothing().len()), (6, 8, 1));
    }
}
