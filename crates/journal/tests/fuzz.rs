//! Arbitrary bytes, and every entry that a program can write.
//!
//! `cargo test` runs the corpus (`__fuzz__/NAME/corpus`) and some thousand inputs more;
//! `VANG_FUZZ_SECONDS=600` goes on for that long, and `cargo bolero test fuzz_envelope` goes about it
//! with coverage.

mod common;

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use vang_chat::{
    Access, AccountCommand, AccountId, AccountRole, AccountStatus, Command, CredentialCommand,
    InvitationCommand, InvitationId, LookKey, MemberCommand, MessageCommand, Name, NameKey, NewInvitation,
    NewToken, Node, OrderCommand, Principal, RoomCommand, RoomId, RoomsBy, Rules, Scope, Scripts, SendId,
    Seq, Time, TokenId, TokenKey, Which,
};
use vang_journal::{
    Backup, BackupOrigin, BackupReadError, Envelope, MemoryJournal, MessagePayload, Origin, Through, Unknown,
    decode_name, encode_name, write_backup,
};

/// The number of inputs and the time limit.
fn effort() -> (usize, Duration) {
    let seconds = std::env::var("VANG_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    match seconds {
        Some(seconds) => (usize::MAX, Duration::from_secs(seconds)),
        None => (100_000, Duration::from_secs(1)),
    }
}

#[test]
fn fuzz_envelope() {
    let (inputs, time) = effort();
    bolero::check!(name = "fuzz_envelope").with_iterations(inputs).with_test_time(time).for_each(
        |bytes: &[u8]| {
            if let Ok(envelope) = Envelope::decode(bytes) {
                assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
            }
        },
    );
}

#[test]
fn fuzz_said() {
    let (inputs, time) = effort();
    bolero::check!(name = "fuzz_said").with_iterations(inputs).with_test_time(time).for_each(
        |bytes: &[u8]| {
            let bytes = Bytes::copy_from_slice(bytes);
            if let Ok(said) = MessagePayload::decode(&bytes) {
                assert_eq!(MessagePayload::decode(&said.encode()), Ok(said));
            }
            if let Ok(name) = decode_name(&bytes) {
                assert_eq!(decode_name(&encode_name(&name)), Ok(name));
            }
        },
    );
}

/// Blocks with these bodies and valid seals: errors that a seal does not detect.
fn sealed(bodies: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"vang backup 1\n".to_vec();
    for body in bodies {
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend_from_slice(body);
        let seal = blake3::hash(&bytes);
        bytes.extend(&seal.as_bytes()[..16]);
    }
    bytes
}

/// Reads to the end or an error; returns the number of blocks.
fn read_backup(bytes: &[u8]) -> Result<usize, BackupReadError> {
    let mut backup = Backup::open(bytes)?;
    let mut pieces = 0;
    while backup.next()?.is_some() {
        pieces += 1;
    }
    Ok(pieces)
}

/// The bodies of a backup's blocks.
fn bodies(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = &bytes[b"vang backup 1\n".len()..];
    let mut bodies = Vec::new();
    while let Some(length) = rest.first_chunk::<4>() {
        let len = u32::from_be_bytes(*length) as usize;
        bodies.push(&rest[4..4 + len]);
        rest = &rest[4 + len + 16..];
    }
    bodies
}

fn small_backup() -> Vec<u8> {
    let mut journal = MemoryJournal::new(common::identity());
    let mut batch = common::drafts(common::ADA, 1, 2);
    batch.checkpoints = vec![(Seq(1), [1; 32]), (Seq(2), [2; 32])];
    common::append(&mut journal, &batch);
    let (mut whole, made) = (Vec::new(), BackupOrigin { time: 1, by: "vang/test".to_owned() });
    write_backup(&mut journal, &common::identity(), (&made, None), &mut whole, &mut |_, _| {})
        .expect("backed up");
    whole
}

#[test]
fn fuzz_backup() {
    let (inputs, time) = effort();
    let whole = small_backup();
    let good = bodies(&whole);
    assert_eq!((sealed(&good), good.len()), (whole.clone(), 4));
    assert_eq!(read_backup(&whole).expect("good"), 2);
    bolero::check!(name = "fuzz_backup").with_iterations(inputs).with_test_time(time).for_each(
        |bytes: &[u8]| {
            let _ = read_backup(bytes);
            let Some((&at, bytes)) = bytes.split_first() else { return };
            // Replaces a block, or one byte of it.
            let at = usize::from(at) % good.len();
            let mut changed = good.clone();
            changed[at] = bytes;
            let _ = read_backup(&sealed(&changed));
        },
    );
}

#[test]
fn a_changed_byte_under_a_valid_seal_is_refused_if_it_matters() {
    let whole = small_backup();
    let good = bodies(&whole);
    for at in 0..good.len() {
        for place in 0..good[at].len() {
            for value in 0..=u8::MAX {
                let mut body = good[at].to_vec();
                let was = std::mem::replace(&mut body[place], value);
                let mut changed = good.clone();
                changed[at] = &body;
                // Nothing depends on the time and program of a backup, the journal's id, and hashes of the
                // state (a replay checks those); the chain covers everything else.
                if value != was && read_backup(&sealed(&changed)).is_ok() {
                    assert!(at < 2, "block {at}, byte {place}: {was} is {value}");
                }
            }
        }
    }
}

#[test]
fn entries_at_wrong_positions_under_valid_seals_are_refused() {
    let mut journal = MemoryJournal::new(common::identity());
    common::append(&mut journal, &common::drafts(common::ADA, 1, 300));
    let (mut whole, made) = (Vec::new(), BackupOrigin { time: 1, by: "vang/test".to_owned() });
    write_backup(&mut journal, &common::identity(), (&made, None), &mut whole, &mut |_, _| {})
        .expect("backed up");
    let mut moved = bodies(&whole);
    // An array of 258, the kind, and the position of the first entry.
    assert_eq!(moved[1][..5], [0x99, 1, 2, 2, 1]);
    let elsewhere = [&[0x99, 1, 2, 2, 7], &moved[1][5..]].concat();
    moved[1] = &elsewhere;
    let bad = read_backup(&sealed(&moved)).expect_err("entry 7 is not the first");
    assert!(bad.to_string().ends_with("entry 7 follows entry 0"), "{bad}");
}

fn name_key() -> impl Strategy<Value = NameKey> {
    any::<[u8; 16]>().prop_map(NameKey)
}

fn name() -> impl Strategy<Value = Box<Name>> {
    let looks = any::<[[u8; 16]; 2]>().prop_map(|looks| looks.map(LookKey));
    let code = any::<[bool; 4]>().prop_map(|which| which.map(|it| if it { b'A' } else { b'a' }));
    let scripts = proptest::collection::vec(code, 0..6).prop_map(Scripts::new);
    let name = (name_key(), looks, scripts, any::<[u8; 2]>());
    name.prop_map(|(key, looks, scripts, unicode)| Box::new(Name { key, looks, scripts, unicode }))
}

fn principal() -> impl Strategy<Value = Principal> {
    prop_oneof![
        Just(Principal::Operator),
        any::<u64>().prop_map(|id| Principal::Account(AccountId(id))),
        name_key().prop_map(Principal::Guest),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let id = (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(key, print)| SendId { key, print });
    let access = prop_oneof![Just(Access::Public), Just(Access::Private)];
    let rooms_by = prop_oneof![Just(RoomsBy::Accounts), Just(RoomsBy::Admins)];
    prop_oneof![
        Just(Command::Order(OrderCommand::Open)),
        any::<u16>().prop_map(|to| Command::Order(OrderCommand::SwitchRules { to: Rules(to) })),
        (name(), principal()).prop_map(|(name, by)| Command::Account(AccountCommand::Add { name, by })),
        (name(), access, principal(), rooms_by, any::<Option<u64>>()).prop_map(
            |(name, access, by, rooms_by, most)| {
                Command::Room(RoomCommand::Create { name, access, by, rooms_by, most })
            }
        ),
        (any::<u64>(), any::<u64>(), principal()).prop_map(|(room, who, by)| Command::Member(
            MemberCommand::Join { room: RoomId(room), who: AccountId(who), by }
        )),
        (any::<u64>(), any::<u64>()).prop_map(|(room, who)| Command::Member(MemberCommand::Leave {
            room: RoomId(room),
            who: AccountId(who)
        })),
        (any::<u64>(), proptest::collection::vec(any::<u64>(), 0..4)).prop_map(|(who, rooms)| {
            let rooms = rooms.into_iter().map(RoomId).collect();
            Command::Member(MemberCommand::Enter { who: AccountId(who), rooms })
        }),
        (any::<u64>(), principal(), proptest::option::of(id)).prop_map(|(room, from, id)| Command::Message(
            MessageCommand::Send { room: RoomId(room), from, id }
        )),
        Just(Command::Order(OrderCommand::Tick)),
        (any::<u64>(), principal())
            .prop_map(|(room, by)| Command::Room(RoomCommand::SetTopic { room: RoomId(room), by })),
        account_command(),
        credential_command(),
        invitation_command(),
    ]
}

fn account() -> impl Strategy<Value = AccountId> {
    any::<u64>().prop_map(AccountId)
}

fn account_command() -> impl Strategy<Value = Command> {
    let role = proptest::sample::select(AccountRole::ALL.to_vec());
    let status = proptest::sample::select(AccountStatus::ALL.to_vec());
    prop_oneof![
        (account(), role, principal())
            .prop_map(|(who, role, by)| AccountCommand::SetRole { who, role, by }.into()),
        (account(), status, principal()).prop_map(|(who, status, by)| AccountCommand::SetStatus {
            who,
            status,
            by
        }
        .into()),
    ]
}

fn invitation_command() -> impl Strategy<Value = Command> {
    let role = proptest::sample::select(AccountRole::ALL.to_vec());
    let room = proptest::option::of(any::<u64>().prop_map(RoomId));
    let until = proptest::option::of(any::<u64>().prop_map(Time));
    let link = proptest::option::of(account());
    let new = (any::<[u8; 32]>(), link, any::<u32>(), until, room, role);
    let new = new.prop_map(|(key, account, uses, until, room, role)| {
        Box::new(NewInvitation { key: TokenKey(key), account, uses, until, room, role })
    });
    prop_oneof![
        (new, principal()).prop_map(|(invitation, by)| InvitationCommand::Create { invitation, by }.into()),
        (any::<u64>(), principal()).prop_map(|(id, by)| InvitationCommand::Withdraw {
            id: InvitationId(id),
            by
        }
        .into()),
        (any::<[u8; 32]>(), proptest::option::of(name())).prop_map(|(key, name)| InvitationCommand::Accept {
            key: TokenKey(key),
            name
        }
        .into()),
    ]
}

fn credential_command() -> impl Strategy<Value = Command> {
    let token = || any::<u64>().prop_map(TokenId);
    let scope = proptest::sample::select(Scope::ALL.to_vec());
    let rooms = proptest::collection::vec(any::<u64>().prop_map(RoomId), 0..10);
    let until = proptest::option::of(any::<u64>().prop_map(Time));
    let new = (any::<[u8; 32]>(), scope, rooms, until);
    let new = new.prop_map(|(key, scope, rooms, until)| {
        Box::new(NewToken { key: TokenKey(key), scope, rooms, until })
    });
    let which = prop_oneof![Just(Which::All), token().prop_map(Which::AllBut), token().prop_map(Which::One)];
    prop_oneof![
        (account(), proptest::option::of(token()), principal())
            .prop_map(|(who, keep, by)| CredentialCommand::SetPassword { who, keep, by }.into()),
        (account(), any::<u64>()).prop_map(|(who, from)| CredentialCommand::RenewVerifier {
            who,
            from: Seq(from)
        }
        .into()),
        (account(), new, principal()).prop_map(|(who, token, by)| CredentialCommand::CreateToken {
            who,
            token,
            by
        }
        .into()),
        (account(), which, principal()).prop_map(|(who, which, by)| CredentialCommand::EndTokens {
            who,
            which,
            by
        }
        .into()),
    ]
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let through = prop_oneof![Just(Through::Door), Just(Through::OperatorSocket)];
    (any::<u16>(), any::<[u64; 3]>(), through, any::<[u8; 32]>(), command()).prop_map(
        |(rules, [node, counter, time], through, digest, command)| Envelope {
            rules: Rules(rules),
            origin: Origin { node: Node(node), counter },
            time: Time(time),
            through,
            digest,
            command,
        },
    )
}

proptest! {
    #[test]
    fn an_envelope_comes_back_as_it_was(envelope in envelope()) {
        let bytes = envelope.encode();
        prop_assert_eq!(Envelope::decode(&bytes), Ok(envelope));
        for len in 0..bytes.len() {
            prop_assert!(Envelope::decode(&bytes[..len]).is_err(), "cut at {}", len);
        }
    }

    #[test]
    fn a_changed_byte_is_refused_or_changes_the_envelope(
        envelope in envelope(),
        at in any::<proptest::sample::Index>(),
        mask in 1_u8..,
    ) {
        let mut bytes = envelope.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        prop_assert_ne!(Envelope::decode(&bytes), Ok(envelope));
    }

    #[test]
    fn a_said_payload_comes_back_as_it_was(
        guest in proptest::option::of(".*"),
        content_type in ".*",
        content_encoding in ".*",
        content in any::<Vec<u8>>(),
    ) {
        let said = MessagePayload { guest, content_type, content_encoding, content: content.into(), unknown: Unknown::default() };
        let bytes = said.encode();
        prop_assert_eq!(MessagePayload::decode(&bytes), Ok(said));
        for len in 0..bytes.len() {
            prop_assert!(MessagePayload::decode(&bytes.slice(..len)).is_err(), "cut at {}", len);
        }
    }

    #[test]
    fn a_name_comes_back_as_it_was(name in ".*") {
        prop_assert_eq!(decode_name(&encode_name(&name)), Ok(name));
    }
}
