//! A clock far ahead of the journal: the server accepts no messages but serves readers, until the operator
//! confirms the time.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vang_chat::{
    Access, AccountCommand, Command as Asked, Name, NameKey, Node, OrderCommand, Principal, RoomCommand,
    RoomsBy, Rules, Time,
};
use vang_journal::{
    Appended, Batch, DataFolder, Draft, Durability, Envelope, Origin, Payload, Through, open_journal,
};

use crate::common::{ask, fails};
use crate::harness::{Server, folder};

/// A journal whose newest entry is of 1970.
fn write_old_journal(data: &Path) {
    let folder = DataFolder::open(data).unwrap();
    let mut journal = open_journal(&folder.journal_db(), Durability::default()).unwrap();
    let name = vang_hub::NameMaker::new(journal.identity().key).make_new("general").unwrap().1;
    let room = RoomCommand::Create {
        name,
        access: Access::Public,
        by: Principal::Operator,
        rooms_by: RoomsBy::default(),
        most: None,
    };
    let other = AccountCommand::Add { name: Name::only(NameKey([7; 16])), by: Principal::Operator };
    let drafts = [
        (OrderCommand::Open.into(), Vec::new()),
        (Asked::from(room), vang_journal::encode_name("general").to_vec()),
        (other.into(), vang_journal::encode_name("ada").to_vec()),
    ];
    let drafts = drafts.into_iter().enumerate();
    let drafts = drafts.map(|(index, (command, bytes))| draft(index as u64 + 1, Time(1_000), command, bytes));
    let batch = Batch { drafts: drafts.collect(), checkpoints: Vec::new() };
    assert!(matches!(journal.append(&batch), Appended::Appended { .. }));
}

/// An entry of another node.
fn draft(counter: u64, time: Time, command: Asked, bytes: Vec<u8>) -> Draft {
    let payload = Payload { salt: [1; 16], bytes: bytes.into() };
    let origin = Origin { node: Node(5), counter };
    let (rules, through, digest) = (Rules(1), Through::default(), payload.digest());
    let envelope = Envelope { rules, origin, time, through, digest, command };
    Draft { envelope: envelope.encode(), payload }
}

/// Lets so much time pass in a journal that no server uses: its newest entry is of then.
pub(crate) fn let_time_pass(data: &Path, time: Duration) {
    let folder = DataFolder::open(data).unwrap();
    let mut journal = open_journal(&folder.journal_db(), Durability::default()).unwrap();
    let then = (SystemTime::now() + time).duration_since(UNIX_EPOCH).unwrap();
    let draft = draft(1, Time(then.as_millis() as u64), OrderCommand::Open.into(), Vec::new());
    let batch = Batch { drafts: vec![draft], checkpoints: Vec::new() };
    assert!(matches!(journal.append(&batch), Appended::Appended { .. }));
}

fn ready(server: &Server) -> String {
    String::from_utf8(ask(&server.addr, b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
        .unwrap()
}

#[test]
fn a_clock_far_ahead_of_the_journal_needs_confirmation() {
    let dir = folder();
    let data = dir.path().join("data");
    write_old_journal(&data);
    let server = Server::start(&data);
    assert!(server.ok(&["rooms"]).starts_with("general"), "readers are served");
    let said = fails(server.client(&["send", "general", "hi", "--timeout", "1s"]), 1);
    assert!(said.contains("clock") && said.contains("--confirm-time"), "{said}");
    let answer = ready(&server);
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("clock"), "{answer}");
    assert!(server.log().contains("no messages are accepted"), "{}", server.log());
    assert!(server.stop().success());

    let mut command: Command = crate::harness::vang();
    command.args(["serve", "--listen", "127.0.0.1:0", "--confirm-time", "--data"]).arg(&data);
    let server = Server::spawn(command, &data);
    assert_eq!(server.ok(&["send", "general", "hi"]), "general#1\n");
    assert!(ready(&server).starts_with("HTTP/1.1 200"));
    assert!(server.stop().success());
    // From now on the journal is of today.
    let server = Server::start(&data);
    assert_eq!(server.ok(&["send", "general", "again"]), "general#2\n");
}
