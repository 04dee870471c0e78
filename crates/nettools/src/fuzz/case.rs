//! One case: bytes that are wrong in a known way, and how they are sent. A seed and a number give the same case always.

use super::random::Random;
use super::{http, lines, message, websocket};

/// A protocol that is spoken wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FuzzProtocol {
    /// Messages of docs/PROTOCOL.md, as in the tutorial.
    Message,
    Lines,
    Http,
    WebSocket,
}

impl FuzzProtocol {
    pub const ALL: [FuzzProtocol; 4] =
        [FuzzProtocol::Message, FuzzProtocol::Lines, FuzzProtocol::Http, FuzzProtocol::WebSocket];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            FuzzProtocol::Message => "message",
            FuzzProtocol::Lines => "lines",
            FuzzProtocol::Http => "http",
            FuzzProtocol::WebSocket => "websocket",
        }
    }

    /// A request that a server of this protocol answers.
    pub(super) fn honest(self) -> Vec<u8> {
        match self {
            FuzzProtocol::Message => message::honest(),
            FuzzProtocol::Lines => lines::honest(),
            FuzzProtocol::Http => http::honest(),
            FuzzProtocol::WebSocket => websocket::honest(),
        }
    }

    fn generate(self, random: &mut Random) -> (String, Vec<u8>) {
        match self {
            FuzzProtocol::Message => message::generate(random),
            FuzzProtocol::Lines => lines::generate(random),
            FuzzProtocol::Http => http::generate(random),
            FuzzProtocol::WebSocket => websocket::generate(random),
        }
    }
}

/// What happens after the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The sending half is closed, and the answer is read.
    HalfClose,
    /// Closed at once.
    Close,
    /// Closed with a reset.
    Reset,
}

/// Most writes of one case.
const WRITES_MAX: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// From 1.
    pub(super) number: u64,
    pub(super) protocol: FuzzProtocol,
    /// What is wrong with the bytes, and how they are sent.
    pub(super) what: String,
    pub(super) bytes: Vec<u8>,
    /// Bytes of one write.
    pub(super) piece: usize,
    pub(super) ending: Ending,
}

impl Case {
    /// The case of a seed with this number. The protocols take turns.
    pub(super) fn generate(seed: u64, number: u64, protocols: &[FuzzProtocol]) -> Case {
        let protocol = protocols[(number.saturating_sub(1) % protocols.len().max(1) as u64) as usize];
        let mut random = Random::of_case(seed, number);
        let (mut what, mut bytes) = match random.below(8) {
            0 => {
                let mut bytes = protocol.honest();
                let times = 1 + random.below(8);
                for _ in 0..times {
                    let at = random.below(bytes.len());
                    bytes[at] ^= 1 << random.below(8);
                }
                ("flipped bits in an honest request".to_owned(), bytes)
            }
            1 => {
                let bytes = protocol.honest();
                let len = random.below(bytes.len());
                (format!("an honest request, cut after {len} bytes"), bytes[..len].to_vec())
            }
            _ => protocol.generate(&mut random),
        };
        match random.below(8) {
            0 => {
                what.push_str(", joined with an honest request before it");
                bytes = [protocol.honest(), bytes].concat();
            }
            1 => {
                what.push_str(", joined with an honest request behind it");
                bytes.extend(protocol.honest());
            }
            2 => {
                let len = random.below(bytes.len());
                what.push_str(&format!(", cut after {len} bytes"));
                bytes.truncate(len);
            }
            _ => {}
        }
        let shortest = bytes.len().div_ceil(WRITES_MAX).max(1);
        let piece = match random.below(4) {
            0 => shortest,
            1 => shortest.max(1 + random.below(64)),
            _ => bytes.len().max(1),
        };
        if piece < bytes.len() {
            what.push_str(&format!(", in pieces of {piece}"));
        }
        let ending = match random.below(10) {
            0 => Ending::Reset,
            1 | 2 => Ending::Close,
            _ => Ending::HalfClose,
        };
        what.push_str(match ending {
            Ending::HalfClose => "",
            Ending::Close => ", closed at once",
            Ending::Reset => ", then a reset",
        });
        Case { number, protocol, what, bytes, piece, ending }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_cases_always() {
        // FNV-1a over all that is sent: a changed generator changes what an old seed means, and this number.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for number in 1..=400 {
            let case = Case::generate(42, number, &FuzzProtocol::ALL);
            assert_eq!(case, Case::generate(42, number, &FuzzProtocol::ALL));
            let length = (case.bytes.len() as u64).to_be_bytes();
            for byte in length.iter().chain(&case.bytes).chain(&(case.piece as u64).to_be_bytes()) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
        assert_eq!(format!("{hash:016x}"), "09733e02db0b729a");
        assert_ne!(
            Case::generate(42, 1, &FuzzProtocol::ALL).bytes,
            Case::generate(43, 1, &FuzzProtocol::ALL).bytes
        );
    }

    #[test]
    fn cases_are_bounded_and_differ() {
        for protocol in FuzzProtocol::ALL {
            let mut kinds = BTreeSet::new();
            for number in 1..=2_000 {
                let case = Case::generate(7, number, &[protocol]);
                assert!(case.bytes.len() <= 1 << 21, "{}: {} bytes", case.what, case.bytes.len());
                assert!(case.piece > 0 && case.bytes.len().div_ceil(case.piece) <= WRITES_MAX);
                kinds.insert(case.what);
            }
            assert!(kinds.len() > 100, "{}: {}", protocol.name(), kinds.len());
        }
    }

    #[test]
    fn an_honest_message_is_a_message() {
        let mut decoder = vang_proto::Decoder::default();
        decoder.feed(&FuzzProtocol::Message.honest());
        assert!(decoder.poll_frame().is_ok_and(|frame| frame.is_some()));
    }
}
