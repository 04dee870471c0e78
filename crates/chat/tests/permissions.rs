//! Who can do what, found by doing it: every power, in a public and in a private room, by everybody that a room can
//! know. The result is `golden/permissions.txt`; `VANG_BLESS=1` writes it, the diff is then to be reviewed like code.

#![allow(clippy::unwrap_used)]

use std::fmt::Write;

use vang_chat::{
    Access, AccountCommand, AccountId, Command, MemberCommand, MessageCommand, Name, NameKey, Node, Position,
    Power, Principal, Refusal, Room, RoomCommand, RoomId, RoomsBy, Standing, State, Time,
};

struct World {
    state: State,
    public: RoomId,
    private: RoomId,
    /// An account that is in no room.
    stranger: AccountId,
    others: [Principal; 3],
}

fn key(name: &str) -> NameKey {
    NameKey(blake3::hash(name.as_bytes()).as_bytes()[..16].try_into().unwrap())
}

fn name(typed: &str) -> Box<Name> {
    Name::only(key(typed))
}

fn at(state: &State) -> Position {
    Position { seq: state.seq().next(), time: Time(1_000), node: Node(1) }
}

impl World {
    fn new() -> World {
        let mut state = State::default();
        let add = |state: &mut State, typed: &str| {
            let add = AccountCommand::Add { name: name(typed), by: Principal::Operator };
            state.apply(at(state), &add.into()).unwrap();
            state.account(&key(typed)).unwrap()
        };
        let [stranger, outsider, former, member] =
            ["stranger", "outsider", "former", "member"].map(|name| add(&mut state, name));
        let [public, private] =
            [("lobby", Access::Public), ("ops", Access::Private)].map(|(typed, access)| {
                let by = Principal::Account(member);
                let create = RoomCommand::Create {
                    name: name(typed),
                    access,
                    by,
                    rooms_by: RoomsBy::default(),
                    most: None,
                };
                state.apply(at(&state), &create.into()).unwrap();
                let room = state.room_named(&key(typed), &by).unwrap();
                state.apply(at(&state), &MemberCommand::Join { room, who: former, by }.into()).unwrap();
                state.apply(at(&state), &MemberCommand::Leave { room, who: former }.into()).unwrap();
                room
            });
        let others = [outsider, former, member].map(Principal::Account);
        World { state, public, private, stranger, others }
    }

    fn principal(&self, standing: Standing) -> Principal {
        match standing {
            Standing::Operator => Principal::Operator,
            Standing::Guest => Principal::Guest(key("guest")),
            Standing::Outsider => self.others[0],
            Standing::Former => self.others[1],
            Standing::Member => self.others[2],
        }
    }

    fn attempt(&self, power: Power, room: RoomId, who: &Principal) -> Result<(), Refusal> {
        let there: &Room = self.state.room(room).unwrap();
        let decide = |command: Command| self.state.decide(at(&self.state), &command).map(drop);
        let join = |who: AccountId, by: &Principal| decide(MemberCommand::Join { room, who, by: *by }.into());
        match power {
            Power::KnowOf => self.state.room_named(&there.name.key, who).map(drop),
            Power::SeePeople | Power::SeeAll => there.check(power, who),
            Power::Speak => decide(MessageCommand::Send { room, from: *who, id: None }.into()),
            Power::Join => match join(there.own_account(power, who)?, who) {
                // A rule of its own, behind the permission.
                Err(Refusal::AlreadyMember) => Ok(()),
                decided => decided,
            },
            Power::Bring => join(self.stranger, who),
            Power::Leave => decide(MemberCommand::Leave { room, who: there.own_account(power, who)? }.into()),
            Power::SetTopic => decide(RoomCommand::SetTopic { room, by: *who }.into()),
            Power::CreateRoom(rooms_by) => {
                let access = if room == self.public { Access::Public } else { Access::Private };
                let name = name("new");
                decide(RoomCommand::Create { name, access, by: *who, rooms_by, most: None }.into())
            }
            Power::AddAccount => decide(AccountCommand::Add { name: name("new"), by: *who }.into()),
        }
    }
}

fn word(result: Result<(), Refusal>) -> String {
    match result {
        Ok(()) => "yes".to_owned(),
        Err(refusal) => format!("{refusal:?}"),
    }
}

#[test]
fn everybody_can_do_what_the_table_says_and_nothing_else() {
    let world = World::new();
    let mut found = String::new();
    let mut line = |cells: Vec<String>| {
        let padded: Vec<String> = cells.iter().map(|cell| format!("{cell:<22}")).collect();
        writeln!(found, "{}", padded.concat().trim_end()).unwrap();
    };
    let head = Standing::ALL.map(|standing| format!("{standing:?}"));
    line([vec![String::new(), String::new()], head.to_vec()].concat());
    for power in Power::ALL {
        for access in Access::ALL {
            let room = match access {
                Access::Public => world.public,
                Access::Private => world.private,
            };
            let cells = Standing::ALL.map(|standing| {
                let who = world.principal(standing);
                let there = world.state.room(room).unwrap();
                assert_eq!(there.standing(&who), standing);
                let done = world.attempt(power, room, &who);
                assert_eq!(done, there.check(power, &who), "{power:?} {access:?} {standing:?}");
                word(done)
            });
            line([vec![format!("{power:?}"), format!("{access:?}")], cells.to_vec()].concat());
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/permissions.txt");
    if std::env::var_os("VANG_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(path, &found).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, written, "rerun with VANG_BLESS=1 and review the diff");
}
