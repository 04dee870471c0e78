//! Who can do what, found by doing it: every power, in a public and in a private room, by everybody that a room can
//! know. The result is `golden/permissions.txt`; `VANG_BLESS=1` writes it, the diff is then to be reviewed like code.

#![allow(clippy::unwrap_used)]

use std::fmt::Write;

use vang_chat::{
    Access, AccountCommand, AccountId, AccountRole, AccountStatus, Command, CredentialCommand, Feed,
    InvitationCommand, MemberCommand, MessageCommand, Name, NameKey, NewInvitation, NewToken, Node, Position,
    Power, Principal, Refusal, Room, RoomCommand, RoomId, RoomsBy, Scope, ServerPower, ServerRole, Standing,
    State, Time, TokenKey, Which,
};

struct World {
    state: State,
    public: RoomId,
    private: RoomId,
    /// Accounts that are in no room.
    stranger: AccountId,
    other: AccountId,
    admins: [AccountId; 2],
    disabled: AccountId,
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
        let [stranger, other, outsider, former, member] =
            ["stranger", "other", "outsider", "former", "member"].map(|name| add(&mut state, name));
        let admins = ["admin", "other-admin"].map(|name| {
            let who = add(&mut state, name);
            let set = AccountCommand::SetRole { who, role: AccountRole::Admin, by: Principal::Operator };
            state.apply(at(&state), &set.into()).unwrap();
            who
        });
        let disabled = add(&mut state, "disabled");
        let status = AccountStatus::Disabled;
        let disable = AccountCommand::SetStatus { who: disabled, status, by: Principal::Operator };
        state.apply(at(&state), &disable.into()).unwrap();
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
        World { state, public, private, stranger, other, admins, disabled, others }
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
        }
    }

    /// Does it on the server; what needs an account does it to `with`.
    fn attempt_server(&self, power: ServerPower, by: Principal, with: AccountId) -> Result<(), Refusal> {
        let command: Command = match power {
            ServerPower::FollowAccount => return Feed::Account(with).check(&by),
            ServerPower::FollowServer => return Feed::Server.check(&by),
            ServerPower::CreateRoom(rooms_by, access) => {
                RoomCommand::Create { name: name("new"), access, by, rooms_by, most: None }.into()
            }
            ServerPower::AddAccount => AccountCommand::Add { name: name("new"), by }.into(),
            ServerPower::Invite | ServerPower::InviteAdmin => {
                let role = match power {
                    ServerPower::InviteAdmin => AccountRole::Admin,
                    _ => AccountRole::Person,
                };
                let new = NewInvitation {
                    key: TokenKey([8; 32]),
                    account: None,
                    uses: 1,
                    until: None,
                    room: None,
                    role,
                };
                InvitationCommand::Create { invitation: Box::new(new), by }.into()
            }
            ServerPower::SetRole => {
                AccountCommand::SetRole { who: with, role: AccountRole::Admin, by }.into()
            }
            ServerPower::Disable | ServerPower::DisableAdmin => {
                AccountCommand::SetStatus { who: with, status: AccountStatus::Disabled, by }.into()
            }
            ServerPower::DeleteAccount => {
                AccountCommand::SetStatus { who: with, status: AccountStatus::Deleted, by }.into()
            }
            ServerPower::SetPassword => CredentialCommand::SetPassword { who: with, keep: None, by }.into(),
            ServerPower::CreateToken => {
                let key = TokenKey([9; 32]);
                let token = Box::new(NewToken { key, scope: Scope::Read, rooms: Vec::new(), until: None });
                CredentialCommand::CreateToken { who: with, token, by }.into()
            }
            ServerPower::EndTokens => {
                CredentialCommand::EndTokens { who: with, which: Which::All, by }.into()
            }
        };
        self.state.decide(at(&self.state), &command).map(drop)
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
    // On the server, with another account than the asker's, and with its own. A disabled account can do nothing.
    let by_role = |role: ServerRole| match role {
        ServerRole::Operator => Principal::Operator,
        ServerRole::Admin => Principal::Account(world.admins[0]),
        ServerRole::Account => Principal::Account(world.stranger),
        ServerRole::Guest => Principal::Guest(key("guest")),
    };
    line(Vec::new());
    let roles = ServerRole::ALL.map(|role| format!("{role:?}"));
    let itself = ["Admin, itself", "Account, itself", "Disabled", "Disabled, itself"].map(str::to_owned);
    line([vec![String::new(), String::new()], roles.to_vec(), itself.to_vec()].concat());
    for power in ServerPower::ALL {
        let other = if power == ServerPower::DisableAdmin { world.admins[1] } else { world.other };
        let by_others = ServerRole::ALL.map(|role| (by_role(role), other));
        let own = |who: AccountId| (Principal::Account(who), who);
        let disabled = Principal::Account(world.disabled);
        let with_itself = [own(world.admins[0]), own(world.stranger), (disabled, other), own(world.disabled)];
        let cells = by_others.into_iter().chain(with_itself).map(|(who, with)| {
            let done = world.attempt_server(power, who, with);
            let asked = if power == ServerPower::Disable && with == world.admins[0] {
                ServerPower::DisableAdmin
            } else {
                power
            };
            // What a disabled account follows was ended with its connections.
            let is_reading = matches!(power, ServerPower::FollowAccount | ServerPower::FollowServer);
            if !is_reading || who != disabled {
                assert_eq!(done, world.state.check_server(asked, &who, Some(with)), "{power:?} {who:?}");
            }
            word(done)
        });
        let (what, access) = match power {
            ServerPower::CreateRoom(by, access) => (format!("CreateRoom({by:?})"), format!("{access:?}")),
            _ => (format!("{power:?}"), String::new()),
        };
        line([what, access].into_iter().chain(cells).collect());
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/permissions.txt");
    if std::env::var_os("VANG_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(path, &found).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, written, "rerun with VANG_BLESS=1 and review the diff");
}
