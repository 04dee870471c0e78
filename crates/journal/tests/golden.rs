//! The formats of journals and backups, byte for byte. `VANG_BLESS=1 cargo test -p vang-journal --test golden`
//! writes `golden/format-1.txt` and `golden/backup-*.txt` again: only before the first release, or when a
//! command is added.

mod common;

use std::fmt::Write;
use std::path::Path;

use bytes::Bytes;
use common::{append, batch, identity, whole};
use vang_chat::{
    Access, AccountCommand, AccountId, AccountRole, AccountStatus, Command, CredentialCommand,
    InvitationCommand, InvitationId, LookKey, MemberCommand, MessageCommand, Name, NameKey, NewInvitation,
    NewToken, Node, OrderCommand, Principal, RoomCommand, RoomId, RoomsBy, Rules, Scope, ScriptCode, Scripts,
    SendId, Seq, Time, TokenId, TokenKey, Which,
};
use vang_journal::{
    Backup, BackupOrigin, Batch, Draft, Envelope, Identity, Journal, MemoryJournal, MessagePayload, Origin,
    Payload, Piece, Reader, ServerKey, Through, Unknown, decode_name, encode_name, genesis, write_backup,
};

/// Every kind of command, with its payload.
fn commands() -> Vec<(Command, Bytes)> {
    fn hash<const N: usize>(first: u8) -> [u8; N] {
        std::array::from_fn(|i| first.wrapping_add(i as u8))
    }
    let name = |first: u8, scripts: &[ScriptCode]| {
        let (key, looks) = (NameKey(hash(first)), [LookKey(hash(first + 1)), LookKey(hash(first + 2))]);
        Box::new(Name { key, looks, scripts: Scripts::new(scripts.iter().copied()), unicode: [17, 0] })
    };
    let (room, ada) = (RoomId(4), AccountId(300));
    let id = SendId { key: [0x11; 16], print: [0x22; 16] };
    let said = |guest: Option<&str>, content: &'static [u8]| {
        let (content_type, content_encoding) = ("text/plain".into(), "utf-8".into());
        let guest = guest.map(str::to_owned);
        MessagePayload {
            guest,
            content_type,
            content_encoding,
            content: Bytes::from_static(content),
            unknown: Unknown::default(),
        }
        .encode()
    };
    let by_ada = Principal::Account(ada);
    vec![
        (Command::Order(OrderCommand::Open), Bytes::new()),
        (Command::Order(OrderCommand::SwitchRules { to: Rules(1) }), Bytes::new()),
        (
            Command::Account(AccountCommand::Add { name: name(0xa0, &[*b"Latn"]), by: Principal::Operator }),
            encode_name("ada"),
        ),
        (
            Command::Room(RoomCommand::Create {
                name: name(0xb0, &[*b"Hani", *b"Hanb", *b"Jpan", *b"Kore"]),
                access: Access::Public,
                by: Principal::Operator,
                rooms_by: RoomsBy::Accounts,
                most: None,
            }),
            encode_name("大厅"),
        ),
        (
            Command::Room(RoomCommand::Create {
                name: name(0xc0, &[]),
                access: Access::Private,
                by: by_ada,
                rooms_by: RoomsBy::Admins,
                most: Some(1_000),
            }),
            encode_name("数-ops"),
        ),
        (Command::Member(MemberCommand::Join { room, who: ada, by: by_ada }), Bytes::new()),
        (Command::Member(MemberCommand::Leave { room, who: AccountId(u64::MAX) }), Bytes::new()),
        (
            Command::Message(MessageCommand::Send { room, from: by_ada, id: Some(id) }),
            said(None, "hi 👋".as_bytes()),
        ),
        (
            Command::Message(MessageCommand::Send {
                room,
                from: Principal::Guest(NameKey(hash(0xd0))),
                id: None,
            }),
            said(Some("Bob"), &[0, 0xff, 10]),
        ),
        (
            Command::Message(MessageCommand::Send { room, from: Principal::Operator, id: None }),
            said(None, b""),
        ),
        (Command::Order(OrderCommand::Tick), Bytes::new()),
        (Command::Room(RoomCommand::SetTopic { room, by: by_ada }), encode_name("what grows")),
        (
            Command::Account(AccountCommand::SetRole {
                who: ada,
                role: AccountRole::Admin,
                by: Principal::Operator,
            }),
            Bytes::new(),
        ),
        (
            Command::Account(AccountCommand::SetStatus {
                who: ada,
                status: AccountStatus::Disabled,
                by: Principal::Operator,
            }),
            Bytes::new(),
        ),
        (
            Command::Credential(CredentialCommand::SetPassword {
                who: ada,
                keep: Some(TokenId(70_000)),
                by: by_ada,
            }),
            Bytes::from_static(b"a sealed verifier"),
        ),
        (
            Command::Invitation(InvitationCommand::Create {
                invitation: Box::new(NewInvitation {
                    key: TokenKey(hash(0xf0)),
                    account: None,
                    uses: 3,
                    until: Some(Time(1_800_000_000_000)),
                    room: Some(room),
                    role: AccountRole::Bot,
                }),
                by: by_ada,
            }),
            encode_name("the new class"),
        ),
        (Command::Invitation(InvitationCommand::Withdraw { id: InvitationId(15), by: by_ada }), Bytes::new()),
        (
            Command::Invitation(InvitationCommand::Accept {
                key: TokenKey(hash(0xf0)),
                name: Some(name(0x90, &[*b"Latn"])),
            }),
            encode_name("eve"),
        ),
        (
            Command::Invitation(InvitationCommand::Accept { key: TokenKey(hash(0xf1)), name: None }),
            Bytes::new(),
        ),
        (
            Command::Credential(CredentialCommand::RenewVerifier { who: ada, from: Seq(15) }),
            Bytes::from_static(b"another one"),
        ),
        (
            Command::Credential(CredentialCommand::CreateToken {
                who: ada,
                token: Box::new(NewToken {
                    key: TokenKey(hash(0xe0)),
                    scope: Scope::Send,
                    rooms: vec![room, RoomId(5)],
                    until: Some(Time(1_800_000_000_000)),
                }),
                by: by_ada,
            }),
            encode_name("the sensor in the cellar"),
        ),
        (
            Command::Credential(CredentialCommand::EndTokens { who: ada, which: Which::All, by: by_ada }),
            Bytes::new(),
        ),
        (
            Command::Credential(CredentialCommand::EndTokens {
                who: ada,
                which: Which::AllBut(TokenId(17)),
                by: Principal::Operator,
            }),
            Bytes::new(),
        ),
        (Command::Member(MemberCommand::Enter { who: ada, rooms: vec![room, RoomId(5)] }), Bytes::new()),
    ]
}

fn drafts() -> Vec<Draft> {
    let draft = |(counter, (command, bytes)): (u64, (Command, Bytes))| {
        let payload = Payload { salt: [counter as u8; 16], bytes };
        let envelope = Envelope {
            rules: Rules(1),
            origin: Origin { node: Node(0x0123_4567_89ab_cdef), counter },
            time: Time(1_700_000_000_000 + counter * 1_000),
            through: if counter % 5 == 0 { Through::OperatorSocket } else { Through::Door },
            digest: payload.digest(),
            command,
        };
        Draft { envelope: envelope.encode(), payload }
    };
    (1..).zip(commands()).map(draft).collect()
}

fn written() -> String {
    let mut journal = MemoryJournal::new(identity());
    append(&mut journal, &batch(drafts()));
    let mut text = String::from("# A journal of format 1. Numbers are hexadecimal; see src/format.rs.\n");
    let mut line = |key: &str, bytes: &[u8]| writeln!(text, "{key:<9}{}", hex(bytes)).expect("a String");
    line("id", &identity().id);
    line("key", &identity().key);
    line("genesis", &genesis(&identity()).0);
    let entries = whole(journal.read(Seq(0), 100, usize::MAX));
    for (entry, sealed) in entries.iter().zip(journal.sealed(Seq(0), 100).expect("readable")) {
        let payload = entry.payload.as_ref().expect("not erased");
        line("seq", &entry.seq.0.to_be_bytes());
        line("envelope", &entry.envelope);
        line("salt", &payload.salt);
        line("payload", &payload.bytes);
        line("chain", &sealed.chain);
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = (0..text.len()).step_by(2);
    digits.map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
}

/// A backup of that journal, with an entry erased and two hashes of the state; made by a restored one.
fn backed_up(server_key: Option<&ServerKey>) -> Vec<u8> {
    let restored = Identity { id: *b"restored-journal", ..identity() };
    let mut journal = MemoryJournal::new(restored);
    let checkpoints = vec![(Seq(4), [0x44; 32]), (Seq(8), [0x88; 32])];
    append(&mut journal, &Batch { drafts: drafts(), checkpoints });
    journal.erase(&[Seq(9)]).expect("never fails");
    let made = BackupOrigin { time: 1_700_000_000_000, by: "vang/0.1.0".to_owned() };
    let mut bytes = Vec::new();
    write_backup(&mut journal, &restored, (&made, server_key), &mut bytes, &mut |_, _| {})
        .expect("backed up");
    bytes
}

fn server_key() -> ServerKey {
    let pem = |what: &str| format!("-----BEGIN {what}-----\nAAAA\n-----END {what}-----\n").into_bytes();
    ServerKey { certificate: pem("CERTIFICATE"), key: pem("PRIVATE KEY") }
}

fn backup_1() -> String {
    backup_text(1, &backed_up(None))
}

fn backup_2() -> String {
    backup_text(2, &backed_up(Some(&server_key())))
}

fn backup_text(format: u32, bytes: &[u8]) -> String {
    let mut text = format!("# A backup of format {format}, in hexadecimal; see src/backup.rs.\n");
    for line in bytes.chunks(32) {
        writeln!(text, "{}", hex(line)).expect("a String");
    }
    text
}

fn golden() -> String {
    golden_file("format-1.txt", written)
}

fn golden_file(name: &str, written: fn() -> String) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("VANG_BLESS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        std::fs::write(&path, written()).expect("written");
    }
    std::fs::read_to_string(path).expect("a golden file; write it with VANG_BLESS=1")
}

#[test]
fn backup_format_1_is_unchanged() {
    let golden = golden_file("backup-1.txt", backup_1);
    assert_eq!(backup_1(), golden);
    check_golden(&golden, None);
}

#[test]
fn backup_format_2_is_unchanged() {
    let golden = golden_file("backup-2.txt", backup_2);
    assert_eq!(backup_2(), golden);
    check_golden(&golden, Some(server_key()));
}

fn check_golden(golden: &str, server_key: Option<ServerKey>) {
    let bytes: Vec<u8> = golden.lines().skip(1).flat_map(unhex).collect();
    let mut backup = Backup::open(&bytes[..]).expect("opens");
    assert_eq!(backup.header().server_key, server_key);
    assert_eq!(backup.header().identity.born, identity().id);
    assert_eq!(backup.header().made.when(), "2023-11-14T22:13:20Z");
    let states = vec![(Seq(4), [0x44; 32]), (Seq(8), [0x88; 32])];
    assert_eq!(backup.next().expect("whole"), Some(Piece::States(states)));
    let Some(Piece::Entries(entries)) = backup.next().expect("whole") else { panic!("entries come next") };
    assert_eq!(entries.len(), drafts().len());
    let mut chain = genesis(&identity());
    for ((entry, stored), draft) in entries.into_iter().zip(drafts()) {
        chain = chain.after(&draft.envelope);
        assert_eq!((entry.envelope, stored), (draft.envelope, chain));
        assert_eq!(entry.payload, (entry.seq != Seq(9)).then_some(draft.payload));
    }
    assert_eq!(backup.next().expect("whole"), None);
}

#[test]
fn journal_format_1_is_written_unchanged() {
    assert_eq!(written(), golden());
}

#[test]
fn journal_format_1_is_read_unchanged() {
    let golden = golden();
    let values = |key: &'static str| {
        golden.lines().filter_map(move |line| {
            let (found, value) = line.split_at_checked(9)?;
            (found.trim() == key).then(|| unhex(value))
        })
    };
    let mut chain = genesis(&identity());
    assert_eq!(values("genesis").next(), Some(chain.0.to_vec()));
    let beside = values("salt").zip(values("payload")).zip(values("chain"));
    let mut read = 0;
    for (((command, bytes), envelope), ((salt, payload), stored)) in
        commands().into_iter().zip(values("envelope")).zip(beside)
    {
        let decoded = Envelope::decode(&envelope).expect("decodes");
        assert_eq!(decoded.command, command);
        assert_eq!(decoded.encode(), envelope);
        let payload = Payload { salt: salt.try_into().expect("16 bytes"), bytes: payload.into() };
        assert_eq!(payload.bytes, bytes);
        assert_eq!(payload.digest(), decoded.digest);
        chain = chain.after(&envelope);
        assert_eq!(chain.0[..], stored);
        match command {
            Command::Message(MessageCommand::Send { .. }) => {
                assert_eq!(MessagePayload::decode(&bytes).expect("decodes").encode(), bytes);
            }
            // What only the server's edge understands.
            Command::Credential(
                CredentialCommand::SetPassword { .. } | CredentialCommand::RenewVerifier { .. },
            ) => {}
            Command::Account(AccountCommand::Add { .. })
            | Command::Credential(CredentialCommand::CreateToken { .. })
            | Command::Room(_) => {
                assert_eq!(encode_name(&decode_name(&bytes).expect("decodes")), bytes);
            }
            Command::Invitation(
                InvitationCommand::Create { .. } | InvitationCommand::Accept { name: Some(_), .. },
            ) => assert_eq!(encode_name(&decode_name(&bytes).expect("decodes")), bytes),
            Command::Invitation(InvitationCommand::Withdraw { .. } | InvitationCommand::Accept { .. })
            | Command::Account(AccountCommand::SetRole { .. } | AccountCommand::SetStatus { .. })
            | Command::Credential(CredentialCommand::EndTokens { .. })
            | Command::Order(OrderCommand::Open)
            | Command::Order(OrderCommand::SwitchRules { .. })
            | Command::Member(MemberCommand::Join { .. })
            | Command::Member(MemberCommand::Leave { .. })
            | Command::Member(MemberCommand::Enter { .. })
            | Command::Order(OrderCommand::Tick) => assert!(bytes.is_empty()),
        }
        read += 1;
    }
    assert_eq!(read, commands().len());
}
