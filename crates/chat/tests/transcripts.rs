//! The rules of chat as stories: `scripts/*.txt`, one file each. `VANG_BLESS=1` writes down what
//! happens instead of comparing; the diff is then to be reviewed like code.
//!
//! ```text
//! operator: account ada            => 1 account-added ada      an entry: its place, and what came of it
//! ada: create #ops private         => 2 room-created #ops private by ada
//! bob: say #ops id=x "hello"       => refused no-room (there is no such room)
//! ada: repeat 3 say #ops id={i} "hi"  => the first and the last of three entries
//! time +25h                        the next entries are stamped that much later
//! ```
//!
//! A speaker without an account is a guest. Lines that are questions and no entries:
//!
//! ```text
//! ada: find #ops                   => 2                        which room the name leads this reader to
//! seen by ada in #ops              => created, 1-3, -ada, hole 4-6, 7, +bob
//! common 7 12                      => 9                        `State::common_with` epoch 7, seq 12
//! token k1                         => ada read             who signs in with it, and what for
//! password ada                     => 7                    the entry that has the verifier
//! clock                            => 25h                      the state's time since the story began
//! ```
//!
//! The stories' own door makes of a name what the real one does, for a few Latin and Cyrillic letters: `рау` in Cyrillic letters
//! looks like `pay`, and `modern` like `modem`.
//!
//! `+bob` is a join and `-bob` a leave. The last line is the beginning of the state's hash.

#![allow(clippy::unwrap_used)]

mod stories;

use std::collections::BTreeMap;
use std::fmt::Write;

use vang_chat::{
    Access, AccountCommand, AccountEvent, AccountId, AccountRole, AccountStatus, Command, CredentialCommand,
    CredentialEvent, Event, InvitationCommand, InvitationEvent, InvitationId, LookKey, MemberCommand,
    MemberEvent, MessageCommand, MessageEvent, Name, NameKey, NewInvitation, NewToken, Node, OrderCommand,
    OrderEvent, Position, Principal, Refusal, RoomCommand, RoomEvent, RoomId, RoomsBy, Rules, Scope, Scripts,
    SendId, Seq, State, Time, TokenId, TokenKey, Which,
};

/// When every story begins.
const BEGIN: u64 = 1_800_000_000_000;

/// Rooms and accounts that are spoken of and do not exist.
const NOT_THERE: u64 = u64::MAX;

#[test]
fn every_story_goes_as_written() {
    stories::play_all(Story::tell);
}

struct Story {
    state: State,
    now: u64,
    node: Node,
    rooms: BTreeMap<String, RoomId>,
    accounts: BTreeMap<String, AccountId>,
    /// What readers of the rooms might see: where, at which entry, what.
    shown: Vec<(RoomId, Seq, Shown)>,
}

enum Shown {
    Message(u64),
    Other(String),
}

impl Story {
    /// The script with what happens in place of what it says would happen.
    fn tell(name: &str, script: &str) -> String {
        let mut story = Story {
            state: State::default(),
            now: BEGIN,
            node: Node(1),
            rooms: BTreeMap::new(),
            accounts: BTreeMap::new(),
            shown: Vec::new(),
        };
        let mut transcript = String::new();
        for (number, line) in script.lines().enumerate() {
            if line.is_empty() || line.starts_with("# ") || line.starts_with("state ") {
                if !line.starts_with("state ") {
                    transcript += line;
                    transcript += "\n";
                }
                continue;
            }
            let asked = line.split("=>").next().unwrap_or_default();
            match story.line(asked.trim_end()) {
                Ok(Some(answer)) => {
                    let asked = if asked.ends_with(' ') {
                        asked.trim_end().to_owned() + padding(asked)
                    } else {
                        asked.to_owned() + " "
                    };
                    writeln!(transcript, "{asked}=> {answer}").unwrap();
                }
                Ok(None) => writeln!(transcript, "{}", asked.trim_end()).unwrap(),
                Err(why) => panic!("{name}:{}: {why}: {line}", number + 1),
            }
        }
        let again = State::from_snapshot(&story.state.to_snapshot()).expect("the state's snapshot loads");
        assert_eq!(again.hash(), story.state.hash());
        writeln!(transcript, "state {}", hex(&story.state.hash()[..8])).unwrap();
        transcript
    }

    fn line(&mut self, line: &str) -> Result<Option<String>, String> {
        if let Some(by) = line.strip_prefix("time ") {
            let (sign, length) = by.split_at(1);
            let length = milliseconds(length)?;
            self.now = if sign == "-" { self.now - length } else { self.now + length };
            return Ok(None);
        }
        if line == "clock" {
            return Ok(Some(length(self.state.time().0 - BEGIN)));
        }
        if let Some(key) = line.strip_prefix("token ") {
            let token = self.state.token(&token_key(key)).filter(|token| !token.is_over(Time(self.now)));
            return Ok(Some(token.map_or("none".into(), |token| {
                let rooms: Vec<String> =
                    token.rooms.iter().map(|room| format!(" {}", self.room_name(*room))).collect();
                let who = self.who(&Principal::Account(token.who));
                format!("{who} {}{}", format!("{:?}", token.scope).to_lowercase(), rooms.concat())
            })));
        }
        if let Some(name) = line.strip_prefix("password ") {
            let Principal::Account(who) = self.principal(name) else { return Err("no account".into()) };
            return Ok(Some(self.state.password(who).map_or("none".into(), |seq| seq.to_string())));
        }
        if let Some(rest) = line.strip_prefix("common ") {
            let (epoch, seq) = rest.split_once(' ').ok_or("common EPOCH SEQ")?;
            let common = self.state.common_with(Node(number(epoch)?), Seq(number(seq)?));
            return Ok(Some(common.map_or("none".into(), |seq| seq.to_string())));
        }
        if let Some(rest) = line.strip_prefix("seen by ") {
            let (who, room) = rest.split_once(" in ").ok_or("seen by WHO in #ROOM")?;
            return Ok(Some(self.seen(&self.principal(who), self.room(room))));
        }
        let (speaker, asked) = line.split_once(": ").ok_or("WHO: COMMAND")?;
        if let Some(name) = asked.strip_prefix("find ") {
            let found = self.state.room_named(&key(name), &self.principal(speaker));
            return Ok(Some(found.map_or_else(|refusal| refused(&refusal), |room| room.0.to_string())));
        }
        let Some(rest) = asked.strip_prefix("repeat ") else { return self.entry(speaker, asked).map(Some) };
        let (times, asked) = rest.split_once(' ').ok_or("repeat N COMMAND")?;
        let mut answers = Vec::new();
        for i in 1..=number(times)? {
            answers.push(self.entry(speaker, &asked.replace("{i}", &i.to_string()))?);
        }
        // Places and numbers differ; what happened must not.
        let kind = |answer: &String| answer.replace(|c: char| c.is_ascii_digit(), "");
        if answers.iter().any(|answer| kind(answer) != kind(&answers[0])) {
            return Err("repetitions with different outcomes".into());
        }
        Ok(Some(format!("{} .. {}", answers[0], answers[answers.len() - 1])))
    }

    /// Applies one entry.
    fn entry(&mut self, speaker: &str, asked: &str) -> Result<String, String> {
        let by = self.principal(speaker);
        let (asked, text) =
            asked.split_once(" \"").map_or((asked, ""), |(asked, text)| (asked, text.trim_end_matches('"')));
        let words: Vec<&str> = asked.split(' ').collect();
        let account = |name: &str| self.accounts.get(name).copied().unwrap_or(AccountId(NOT_THERE));
        let mut named = "";
        let rooms_by = RoomsBy::default();
        let command: Command = match words[..] {
            ["account", name] => {
                named = name;
                AccountCommand::Add { name: made(name), by }.into()
            }
            ["create", name] => {
                named = name;
                RoomCommand::Create { name: made(name), access: Access::Public, by, rooms_by, most: None }
                    .into()
            }
            ["create", name, most] if most.starts_with("most=") => {
                named = name;
                let most = Some(number(&most["most=".len()..])?);
                RoomCommand::Create { name: made(name), access: Access::Public, by, rooms_by, most }.into()
            }
            ["create", name, "by=admins"] => {
                named = name;
                let rooms_by = RoomsBy::Admins;
                RoomCommand::Create { name: made(name), access: Access::Public, by, rooms_by, most: None }
                    .into()
            }
            ["create", name, "private"] => {
                named = name;
                RoomCommand::Create { name: made(name), access: Access::Private, by, rooms_by, most: None }
                    .into()
            }
            ["role", who, role] => {
                let role = match role {
                    "admin" => AccountRole::Admin,
                    "bot" => AccountRole::Bot,
                    _ => AccountRole::Person,
                };
                AccountCommand::SetRole { who: account(who), role, by }.into()
            }
            ["disable", who] => {
                AccountCommand::SetStatus { who: account(who), status: AccountStatus::Disabled, by }.into()
            }
            ["delete", who] => {
                AccountCommand::SetStatus { who: account(who), status: AccountStatus::Deleted, by }.into()
            }
            ["enable", who] => {
                AccountCommand::SetStatus { who: account(who), status: AccountStatus::Active, by }.into()
            }
            ["password", who] => CredentialCommand::SetPassword { who: account(who), keep: None, by }.into(),
            ["password", who, keep] => {
                let keep = Some(TokenId(number(keep.strip_prefix("keep=").ok_or("keep=TOKEN")?)?));
                CredentialCommand::SetPassword { who: account(who), keep, by }.into()
            }
            ["renew", who, from] => {
                CredentialCommand::RenewVerifier { who: account(who), from: Seq(number(from)?) }.into()
            }
            ["invite", key, ref more @ ..] => {
                let mut new = NewInvitation {
                    key: token_key(key),
                    account: None,
                    uses: 1,
                    until: None,
                    room: None,
                    role: AccountRole::Person,
                };
                for word in more {
                    match word.split_at(1) {
                        ("+", length) => new.until = Some(Time(self.now + milliseconds(length)?)),
                        ("#", _) => new.room = Some(self.room(word)),
                        ("@", who) => new.account = Some(account(who)),
                        ("x", uses) => new.uses = number(uses)? as u32,
                        _ if *word == "admin" => new.role = AccountRole::Admin,
                        _ => return Err("+TIME, #ROOM, xUSES or admin".into()),
                    }
                }
                InvitationCommand::Create { invitation: Box::new(new), by }.into()
            }
            ["withdraw", id] => InvitationCommand::Withdraw { id: InvitationId(number(id)?), by }.into(),
            ["accept", key, name] => {
                named = name;
                InvitationCommand::Accept { key: token_key(key), name: Some(made(name)) }.into()
            }
            ["accept", key] => InvitationCommand::Accept { key: token_key(key), name: None }.into(),
            ["token", who, key, scope, ref more @ ..] => {
                let scope = Scope::ALL.into_iter().find(|known| format!("{known:?}").to_lowercase() == scope);
                let scope = scope.ok_or("read, send, admin or device")?;
                let (mut rooms, mut until) = (Vec::new(), None);
                for word in more {
                    match word.strip_prefix("+") {
                        Some(length) => until = Some(Time(self.now + milliseconds(length)?)),
                        None => rooms.push(self.room(word)),
                    }
                }
                let token = Box::new(NewToken { key: token_key(key), scope, rooms, until });
                CredentialCommand::CreateToken { who: account(who), token, by }.into()
            }
            ["end", who, which] => {
                let which = match which.split_once('=') {
                    Some(("but", id)) => Which::AllBut(TokenId(number(id)?)),
                    _ if which == "all" => Which::All,
                    _ => Which::One(TokenId(number(which)?)),
                };
                CredentialCommand::EndTokens { who: account(who), which, by }.into()
            }
            ["join", room] => MemberCommand::Join { room: self.room(room), who: account(speaker), by }.into(),
            ["join", room, who] => {
                MemberCommand::Join { room: self.room(room), who: account(who), by }.into()
            }
            ["leave", room] => MemberCommand::Leave { room: self.room(room), who: account(speaker) }.into(),
            ["enter", ref rooms @ ..] => {
                let rooms = rooms.iter().map(|room| self.room(room)).collect();
                MemberCommand::Enter { who: account(speaker), rooms }.into()
            }
            ["topic", room] => RoomCommand::SetTopic { room: self.room(room), by }.into(),
            ["say", room] => MessageCommand::Send { room: self.room(room), from: by, id: None }.into(),
            ["say", room, id] => {
                let id = id.strip_prefix("id=").ok_or("say #ROOM id=ID \"TEXT\"")?;
                let id = SendId { key: hash(id), print: hash(&format!("{id} {text}")) };
                MessageCommand::Send { room: self.room(room), from: by, id: Some(id) }.into()
            }
            ["tick"] => OrderCommand::Tick.into(),
            ["open", node] => {
                self.node = Node(number(node)?);
                OrderCommand::Open.into()
            }
            ["rules", to] => OrderCommand::SwitchRules { to: Rules(number(to)? as u16) }.into(),
            _ => return Err("no such command".into()),
        };
        let operators = matches!(command, Command::Order(_));
        if operators && by != Principal::Operator {
            return Err("only the operator says this".into());
        }
        if let Err(why) = State::check_rules(&command) {
            return Ok(format!("stops here: {why}"));
        }
        let at = Position { seq: self.state.seq().next(), time: Time(self.now), node: self.node };
        match self.state.apply(at, &command) {
            Err(refusal) => Ok(refused(&refusal)),
            Ok(outcome) => {
                let [happened] = &outcome.events[..] else {
                    return Err(format!("not one event: {outcome:?}"));
                };
                let what = self.happened(at.seq, named, &happened.event);
                Ok(format!("{} {what}", at.seq))
            }
        }
    }

    /// Takes note of the event, and tells it.
    fn happened(&mut self, seq: Seq, named: &str, event: &Event) -> String {
        match *event {
            Event::Order(OrderEvent::Opened { node }) => format!("opened by {}", node.0),
            Event::Order(OrderEvent::RulesSwitched { to }) => format!("rules-switched {}", to.0),
            Event::Order(OrderEvent::Ticked) => "ticked".into(),
            Event::Account(AccountEvent::Added { account, .. }) => {
                self.accounts.insert(named.to_lowercase(), account);
                format!("account-added {named}")
            }
            Event::Account(AccountEvent::RoleSet { who, role }) => {
                format!("role-set {} {role:?}", self.who(&Principal::Account(who))).to_lowercase()
            }
            Event::Account(AccountEvent::StatusSet { who, status }) => {
                format!("status-set {} {status:?}", self.who(&Principal::Account(who))).to_lowercase()
            }
            Event::Account(AccountEvent::Deleted { who, ref rooms, ref erased }) => {
                let who = self.who(&Principal::Account(who));
                for room in rooms {
                    self.shown.push((*room, seq, Shown::Other(format!("-{who}"))));
                }
                let rooms: String = rooms.iter().map(|room| format!(" {}", self.room_name(*room))).collect();
                let erased: Vec<String> = erased.iter().map(ToString::to_string).collect();
                format!("deleted {who}, left{rooms}, erase {}", erased.join(" "))
            }
            Event::Credential(CredentialEvent::PasswordSet { who, before, keep: _ }) => {
                let erased = before.map_or(String::new(), |before| format!(", erase {before}"));
                format!("password-set {}{erased}", self.who(&Principal::Account(who)))
            }
            Event::Credential(CredentialEvent::VerifierRenewed { who, before }) => {
                format!("verifier-renewed {}, erase {before}", self.who(&Principal::Account(who)))
            }
            Event::Credential(CredentialEvent::TokenCreated { who, .. }) => {
                format!("token-created {}", self.who(&Principal::Account(who)))
            }
            Event::Credential(CredentialEvent::TokensEnded { who, .. }) => {
                format!("tokens-ended {}", self.who(&Principal::Account(who)))
            }
            Event::Invitation(InvitationEvent::Created { .. }) => "invited".into(),
            Event::Invitation(InvitationEvent::Withdrawn { id }) => format!("withdrawn {}", id.0),
            Event::Invitation(InvitationEvent::Accepted { account, role, room, .. }) => {
                self.accounts.insert(named.to_lowercase(), account);
                let room = room.map_or(String::new(), |room| {
                    self.shown.push((room, seq, Shown::Other(format!("+{named}"))));
                    format!(" in {}", self.room_name(room))
                });
                format!("accepted {named} {role:?}{room}").to_lowercase()
            }
            Event::Invitation(InvitationEvent::LinkUsed { account, .. }) => {
                format!("link-used {}", self.who(&Principal::Account(account)))
            }
            Event::Invitation(InvitationEvent::AcceptedBefore { account }) => {
                format!("accepted-before {}", self.who(&Principal::Account(account)))
            }
            Event::Room(RoomEvent::Created { room, access, by, .. }) => {
                self.rooms.insert(named.to_lowercase(), room);
                self.shown.push((room, seq, Shown::Other("created".into())));
                let private = if access == Access::Private { " private" } else { "" };
                format!("room-created {named}{private} by {}", self.who(&by))
            }
            Event::Room(RoomEvent::TopicSet { room, by }) => {
                self.shown.push((room, seq, Shown::Other("topic".into())));
                format!("topic-set {} by {}", self.room_name(room), self.who(&by))
            }
            Event::Member(MemberEvent::Joined { room, who }) => {
                let who = self.who(&Principal::Account(who));
                self.shown.push((room, seq, Shown::Other(format!("+{who}"))));
                format!("member-joined {} {who}", self.room_name(room))
            }
            Event::Member(MemberEvent::Left { room, who }) => {
                let who = self.who(&Principal::Account(who));
                self.shown.push((room, seq, Shown::Other(format!("-{who}"))));
                format!("member-left {} {who}", self.room_name(room))
            }
            Event::Member(MemberEvent::Entered { who, ref rooms }) => {
                let who = self.who(&Principal::Account(who));
                for room in rooms {
                    self.shown.push((*room, seq, Shown::Other(format!("+{who}"))));
                }
                let rooms: String = rooms.iter().map(|room| format!(" {}", self.room_name(*room))).collect();
                format!("entered {who}{rooms}")
            }
            Event::Message(MessageEvent::Sent { room, n, from, .. }) => {
                self.shown.push((room, seq, Shown::Message(n)));
                format!("message-sent {} {n} by {}", self.room_name(room), self.who(&from))
            }
            Event::Message(MessageEvent::Repeated { room, n, seq }) => {
                format!("already-sent {} {n} at {seq}", self.room_name(room))
            }
        }
    }

    /// What the reader gets of the room, from its beginning.
    fn seen(&self, reader: &Principal, id: RoomId) -> String {
        let Some(room) = self.state.room(id) else { return "no room".into() };
        let mut parts: Vec<String> = Vec::new();
        let mut run: Option<(u64, u64)> = None;
        let (mut numbered, mut last) = (0, 0);
        for (_, seq, what) in self.shown.iter().filter(|(of, ..)| *of == id) {
            let hole = room.hole_at(reader, *seq);
            if let (true, None, Shown::Message(n)) = (room.sees(reader, *seq), hole, what) {
                run = Some((run.map_or(*n, |(first, _)| first), *n));
                (numbered, last) = (numbered + 1, *n);
                continue;
            }
            parts.extend(run.take().map(numbers));
            match (hole, what) {
                (Some(hole), _) => {
                    parts.push(format!("hole {}", numbers((hole.from, hole.to))));
                    (numbered, last) = (numbered + hole.to + 1 - hole.from, hole.to);
                }
                (None, Shown::Other(what)) if room.sees(reader, *seq) => parts.push(what.clone()),
                (None, _) => {}
            }
        }
        parts.extend(run.take().map(numbers));
        // P2: everything that the reader does not get, up to where it reads, is shown as a hole.
        assert_eq!(numbered, last, "numbers without a gap and each once: {parts:?}");
        if parts.is_empty() { "nothing".into() } else { parts.join(", ") }
    }

    fn principal(&self, name: &str) -> Principal {
        match self.accounts.get(&name.to_lowercase()) {
            _ if name == "operator" => Principal::Operator,
            Some(&account) => Principal::Account(account),
            None => Principal::Guest(key(name)),
        }
    }

    fn room(&self, name: &str) -> RoomId {
        self.rooms.get(&name.to_lowercase()).copied().unwrap_or(RoomId(NOT_THERE))
    }

    fn room_name(&self, id: RoomId) -> &str {
        self.rooms.iter().find(|&(_, &room)| room == id).map_or("?", |(name, _)| name)
    }

    fn who(&self, principal: &Principal) -> String {
        match principal {
            Principal::Operator => "operator".into(),
            Principal::Guest(_) => "a guest".into(),
            Principal::Account(id) => {
                let name = self.accounts.iter().find(|&(_, account)| account == id);
                name.map_or("?".into(), |(name, _)| name.clone())
            }
        }
    }
}

fn refused(refusal: &Refusal) -> String {
    let rule = match refusal {
        Refusal::NoRoom => "no-room",
        Refusal::NoAccount => "no-account",
        Refusal::NameTaken => "name-taken",
        Refusal::NameConfusable => "name-confusable",
        Refusal::AccountNeeded => "account-needed",
        Refusal::NotAllowed => "not-allowed",
        Refusal::AdminNeeded => "admin-needed",
        Refusal::AccountDisabled => "account-disabled",
        Refusal::NoInvitation => "no-invitation",
        Refusal::NameNeeded => "name-needed",
        Refusal::TooManyInvitations { .. } => "too-many-invitations",
        Refusal::TooManyUses { .. } => "too-many-uses",
        Refusal::NoToken => "no-token",
        Refusal::TokenTaken => "token-taken",
        Refusal::OperatorNeeded => "operator-needed",
        Refusal::TooManyTokens { .. } => "too-many-tokens",
        Refusal::TooManyTokenRooms { .. } => "too-many-token-rooms",
        Refusal::OldPassword => "old-password",
        Refusal::AlreadyMember => "already-member",
        Refusal::NotMember => "not-member",
        Refusal::IdReused => "id-reused",
        Refusal::TooManyRooms { .. } => "too-many-rooms",
        Refusal::TooManyOwnRooms { .. } => "too-many-own-rooms",
        Refusal::TooManyStays { .. } => "too-many-stays",
        Refusal::OldRules { .. } => "old-rules",
    };
    format!("refused {rule} ({refusal})")
}

fn token_key(name: &str) -> TokenKey {
    TokenKey(*blake3::hash(name.as_bytes()).as_bytes())
}

fn key(name: &str) -> NameKey {
    NameKey(hash(&name.to_lowercase()))
}

/// What the door makes of a new name.
fn made(name: &str) -> Box<Name> {
    let looks = [name, &name.to_lowercase()].map(|written| LookKey(hash(&look(written))));
    let has = |from: char, to: char| name.chars().any(|c| (from..=to).contains(&c));
    let scripts = match (has('A', 'z'), has('А', 'я')) {
        (true, true) => Scripts::NONE,
        (true, false) => Scripts::new([*b"Latn"]),
        (false, true) => Scripts::new([*b"Cyrl"]),
        (false, false) => Scripts::ANY,
    };
    Box::new(Name { key: key(name), looks, scripts, unicode: [17, 0] })
}

/// What the name looks like: a letter of each that look alike.
fn look(name: &str) -> String {
    let small = "аеорсух".chars().zip("aeopcyx".chars());
    let capital = "АВЕКМНОРСТХ".chars().zip("abekmhopctx".chars());
    let letters: BTreeMap<char, char> = small.chain(capital).chain([('0', 'o'), ('1', 'l')]).collect();
    let alike: String = name.chars().map(|c| letters.get(&c).copied().unwrap_or(c)).collect();
    alike.to_lowercase().replace('m', "rn")
}

fn hash(text: &str) -> [u8; 16] {
    blake3::hash(text.as_bytes()).as_bytes()[..16].try_into().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn numbers((from, to): (u64, u64)) -> String {
    if from == to { from.to_string() } else { format!("{from}-{to}") }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("'{text}' is no number"))
}

const UNITS: [(&str, u64); 4] = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

fn milliseconds(text: &str) -> Result<u64, String> {
    let (count, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit))).ok_or("time +25h")?;
    Ok(number(count)? * unit)
}

fn length(ms: u64) -> String {
    let (name, unit) = [UNITS[1], UNITS[2], UNITS[3]]
        .into_iter()
        .find(|(_, unit)| ms.is_multiple_of(*unit))
        .unwrap_or(UNITS[0]);
    format!("{}{name}", ms / unit)
}

/// The spaces before the arrow, as somebody aligned them.
fn padding(asked: &str) -> &str {
    &asked[asked.trim_end().len()..]
}
