//! What was seen of accounts and tokens: who goes first because he signed in before, what `sessions` shows, and who is told of failed
//! sign-ins.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::net::IpAddr;

use serde_json::{Value as Json, json};
use vang_chat::{Node, Seq};
use vang_hub::{
    Delta, KnownBy, Output, Peer, PeerAddress, Read, ReadAnswer, ReadJob, SecretAnswer, SecretError,
    SecretJob, SeenRow, SessionId,
};
use vang_journal::{MemoryJournal, Reader};
use vang_proto::Secret;
use vang_proto::vang::{Action, Form, Request, Ticket, TokenScope};

use self::common::{Disk, IDENTITY, World};

/// Gives entries of the journal.
struct Entries;

impl Disk for Entries {
    fn update(&mut self, _delta: Delta) {}

    fn answer(&mut self, journal: &MemoryJournal, job: &ReadJob, _at: Seq) -> ReadAnswer {
        let Read::Entries(seqs) = &job.read else { panic!("only 'sessions' asks here") };
        ReadAnswer::Entries(journal.clone().get(seqs, usize::MAX).unwrap())
    }
}

/// A world with the account ada, who has no password: what was checked is the test's choice.
fn with_ada() -> World<Entries> {
    let mut world = World::with(Entries, MemoryJournal::new(IDENTITY), Node(7));
    let operator = world.operator;
    let added = world.ask(operator, None, Action::AddAccount { name: "ada".to_owned() });
    assert_eq!(added["status"], "ok", "{added}");
    world
}

/// The same server, started again with what was written.
fn restarted(world: World<Entries>, written: Vec<SeenRow>) -> World<Entries> {
    let mut again = World::with(Entries, world.journal, Node(8));
    again.hub.load_seen(written);
    again
}

fn at(world: &mut World<Entries>, ip: [u8; 4]) -> SessionId {
    let (session, ip) = (world.hub.connect(Peer::RemoteTls), IpAddr::from(ip));
    world.hub.set_address(session, PeerAddress { host: ip, ip: Some(ip) });
    session
}

const RIGHT: Result<(), SecretError> = Ok(());
const WRONG: Result<(), SecretError> = Err(SecretError::Wrong);

/// Tries ada's password: how it is known that she signed in there before, and the reply.
fn try_password(
    world: &mut World<Entries>,
    session: SessionId,
    (token, device): (Option<&str>, Option<&str>),
    outcome: Result<(), SecretError>,
) -> (Option<KnownBy>, Json) {
    let password = Some(Secret::new("a password".to_owned()));
    let token = token.map(|token| Secret::new(token.to_owned()));
    let action = Action::SignIn { password, token, device: device.map(str::to_owned) };
    let request = Request { form: Form::Header, re: None, name: Some("ada".to_owned()), action };
    world.hub.request(session, Ticket(0), request);
    let Some(Output::Secret(SecretJob { id, known, .. })) = world.hub.poll_output() else {
        panic!("no check")
    };
    world.hub.answer_secret(id, outcome.map(|()| SecretAnswer::default()));
    world.turn();
    (known, world.replies.pop().unwrap().header)
}

fn with_token(world: &mut World<Entries>, session: SessionId, token: &str) -> Json {
    let token = Some(Secret::new(token.to_owned()));
    world.ask(session, None, Action::SignIn { password: None, token, device: None })
}

/// What is known of somebody who tries at this address and shows this token.
fn known(world: &mut World<Entries>, ip: [u8; 4], token: Option<&str>) -> Option<KnownBy> {
    let session = at(world, ip);
    let (known, _) = try_password(world, session, (token, None), WRONG);
    world.hub.disconnect(session);
    known
}

const HOME: [u8; 4] = [192, 0, 2, 7];
const CAFE: [u8; 4] = [203, 0, 113, 9];

#[test]
fn who_signed_in_before_there_or_there_on_is_known_also_after_a_restart() {
    let mut world = with_ada();
    assert_eq!((known(&mut world, HOME, None), known(&mut world, HOME, None)), (None, None));
    let home = at(&mut world, HOME);
    let (_, signed_in) = try_password(&mut world, home, (None, Some("phone")), RIGHT);
    let token = signed_in["token"].as_str().unwrap().to_owned();
    // The token ends; the device is known all the same.
    let ended = world.ask(home, None, Action::SignOut);
    assert_eq!(ended["status"], "ok", "{ended}");
    world.hub.disconnect(home);
    let written = world.hub.seen_rest();
    let mut again = restarted(world, written);
    assert_eq!(known(&mut again, HOME, None), Some(KnownBy::Address));
    assert_eq!(known(&mut again, CAFE, None), None);
    assert_eq!(known(&mut again, [192, 0, 2, 8], None), None, "a neighbour's address");
    assert!(matches!(known(&mut again, CAFE, Some(&token)), Some(KnownBy::Device(_))));
    assert_eq!(known(&mut again, CAFE, Some("vang_0000")), None);
}

#[test]
fn the_owner_is_told_of_failed_sign_ins_once_and_nobody_else() {
    let mut world = with_ada();
    let home = at(&mut world, HOME);
    let (_, signed_in) = try_password(&mut world, home, (None, Some("phone")), RIGHT);
    assert_eq!(signed_in.get("failed"), None, "{signed_in}");
    let device = signed_in["token"].as_str().unwrap().to_owned();
    let make = Action::CreateToken {
        title: "backup".to_owned(),
        scope: TokenScope::Read,
        rooms: Vec::new(),
        days: None,
        name: None,
    };
    let script = world.reply(home, None, make).unwrap().result.as_str().unwrap().to_owned();
    for _ in 0..3 {
        let cafe = at(&mut world, CAFE);
        let (_, refused) = try_password(&mut world, cafe, (None, None), WRONG);
        assert_eq!((&refused["code"], refused.get("failed")), (&json!("wrong-secret"), None));
    }
    let told = |header: &Json| header.get("failed").cloned();
    let failed =
        |header: &Json| (header["failed"].as_u64(), header["failed-from"].as_str().map(str::to_owned));
    let three = (Some(3), Some("203.0.113.9".to_owned()));

    let written = world.hub.seen_rest();
    let mut world = restarted(world, written);
    let home = at(&mut world, HOME);
    assert_eq!(told(&with_token(&mut world, home, &script)), None, "a script's token");
    let guest = at(&mut world, HOME);
    assert_eq!(told(&world.ask(guest, Some("kim"), Action::Hello)), None, "a guest");
    let phone = at(&mut world, HOME);
    let by_device = with_token(&mut world, phone, &device);
    assert_eq!(failed(&by_device), three);
    assert!(by_device["failed-last"].as_str().unwrap().starts_with("2026-05-01T00:00:00."));
    let sessions = world.ask(phone, None, Action::Sessions { name: None });
    assert_eq!(failed(&sessions), three);
    let session = at(&mut world, CAFE);
    assert_eq!(failed(&try_password(&mut world, session, (None, None), RIGHT).1), three);
    let session = at(&mut world, CAFE);
    assert_eq!(told(&try_password(&mut world, session, (None, None), RIGHT).1), None, "told already");
    assert_eq!(told(&world.ask(phone, None, Action::Sessions { name: None })), None);
    let session = at(&mut world, CAFE);
    try_password(&mut world, session, (None, None), WRONG);
    let session = at(&mut world, CAFE);
    assert_eq!(failed(&try_password(&mut world, session, (None, None), RIGHT).1).0, Some(1));
}

#[test]
fn sessions_shows_when_and_from_where_a_token_was_last_used() {
    let mut world = with_ada();
    let home = at(&mut world, HOME);
    let (_, signed_in) = try_password(&mut world, home, (None, Some("phone")), RIGHT);
    let token = signed_in["token"].as_str().unwrap().to_owned();
    world.hub.disconnect(home);
    let cafe = at(&mut world, CAFE);
    world.now += 60_000;
    world.hub.set_wall(world.now().wall);
    with_token(&mut world, cafe, &token);
    world.now += 60_000;
    world.hub.set_wall(world.now().wall);
    let shown = |world: &mut World<Entries>, session| {
        let reply = world.reply(session, None, Action::Sessions { name: None }).unwrap();
        let minute = |time: &Json| time.as_str().map(|time| time[14..16].to_owned());
        let rows = reply.result.as_array().unwrap().iter().map(|row| {
            (minute(&row["used"]), row["address"].as_str().map(str::to_owned), row["connections"].clone())
        });
        (minute(&reply.header["seen"]), rows.collect::<Vec<_>>())
    };
    let (text, address) = (|text: &str| Some(text.to_owned()), Some("203.0.113.9".to_owned()));
    assert_eq!(shown(&mut world, cafe), (text("01"), vec![(text("01"), address.clone(), json!(1))]));
    // The end of a connection is when it was last used.
    world.hub.disconnect(cafe);
    let home = at(&mut world, HOME);
    try_password(&mut world, home, (None, None), RIGHT);
    let rows = vec![(text("02"), address.clone(), json!(0)), (None, Some("192.0.2.7".to_owned()), json!(1))];
    assert_eq!(shown(&mut world, home), (text("02"), rows));
    // And a token that ended has no row any more.
    let ended = world.ask(home, None, Action::EndSession { id: None, name: None });
    assert_eq!(ended["status"], "ok", "{ended}");
    assert_eq!(shown(&mut world, home).1.len(), 1);
    let written = world.hub.seen_rest();
    assert!(!written.iter().any(|row| matches!(row, SeenRow::Token(..))), "{written:?}");
}

#[test]
fn nothing_that_was_seen_of_a_deleted_account_is_kept() {
    let mut world = with_ada();
    let home = at(&mut world, [192, 0, 2, 7]);
    let (_, signed_in) = try_password(&mut world, home, (None, Some("phone")), RIGHT);
    assert_eq!(signed_in["status"], "ok", "{signed_in}");
    let elsewhere = at(&mut world, [198, 51, 100, 9]);
    try_password(&mut world, elsewhere, (None, None), WRONG);
    // The account, its token, an address and a device.
    let before = world.hub.seen_rest();
    assert_eq!(before.len(), 4, "{before:?}");
    let operator = world.operator;
    let deleted = world.ask(operator, None, Action::DeleteAccount { name: "ada".to_owned() });
    assert_eq!(deleted["status"], "ok", "{deleted}");
    // What comes later makes no row again.
    world.hub.disconnect(home);
    try_password(&mut world, elsewhere, (None, None), WRONG);
    let after = world.hub.seen_rest();
    assert_eq!(after.len(), 4, "{after:?}");
    assert!(after.iter().all(|row| matches!(row, SeenRow::Gone(_))), "{after:?}");
    // A file from before it is not taken again either.
    let mut world = restarted(world, before);
    let after = world.hub.seen_rest();
    assert!(after.len() == 4 && after.iter().all(|row| matches!(row, SeenRow::Gone(_))), "{after:?}");
}
