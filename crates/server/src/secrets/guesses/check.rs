//! A check of a password, and from which buckets it takes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vang_chat::NameKey;

/// What somebody asks to have checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guess {
    /// Not used before.
    pub(crate) id: u64,
    /// Of the name that was given, whether there is such an account or not.
    pub(crate) account: NameKey,
    /// As `PeerAddr::host` says it: who has no address shares one.
    pub(crate) from: IpAddr,
    pub(crate) standing: Standing,
}

/// What is known of who asks, before the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Stranger,
    /// This account signed in from this address before.
    KnownAddress,
    /// This account signed in on this device before, and the device proved that it is the one. Its number is the account's.
    KnownDevice(u64),
    /// The account is signed in on this connection, and gives its password once more to change it.
    SignedIn,
}

/// Which bucket a check takes from for its account alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lane {
    Network(IpAddr),
    Address(IpAddr),
    Device(u64),
    SignedIn,
}

/// Strangers and known ones wait apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Known,
    Stranger,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    pub(super) account: NameKey,
    pub(super) kind: Kind,
    pub(super) lane: Lane,
    /// Of IPv6 the /64.
    pub(super) address: IpAddr,
    pub(super) came: u64,
}

impl Check {
    pub(super) fn new(account: NameKey, from: IpAddr, standing: Standing, came: u64) -> Check {
        let from = from.to_canonical();
        let (address, network) = match from {
            IpAddr::V4(ip) => (from, IpAddr::V4(Ipv4Addr::from(u32::from(ip) >> 8 << 8))),
            IpAddr::V6(ip) => {
                let network = IpAddr::V6(Ipv6Addr::from(u128::from(ip) >> 64 << 64));
                (network, network)
            }
        };
        let (kind, lane) = match standing {
            Standing::Stranger => (Kind::Stranger, Lane::Network(network)),
            Standing::KnownAddress => (Kind::Known, Lane::Address(address)),
            Standing::KnownDevice(device) => (Kind::Known, Lane::Device(device)),
            Standing::SignedIn => (Kind::Known, Lane::SignedIn),
        };
        Check { account, kind, lane, address, came }
    }
}
