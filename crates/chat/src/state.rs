//! The state and the only way to change it: `apply` = `decide` (can refuse, changes nothing), then
//! `evolve` (changes, refuses nothing).
//!
//! A version of the rules selects `decide` and `evolve` of each subject, so an old entry always has the same result; a
//! new version gets functions of its own beside the old ones.

use smallvec::smallvec;

use crate::accounts::Accounts;
use crate::invitations::Invitations;
use crate::known::KnownRooms;
use crate::order::Openings;
use crate::rooms::Rooms;
use crate::sent::Sent;
use crate::server_feed::ServerFeed;
use crate::tokens::Tokens;
use crate::{
    AccountCommand, AccountEvent, AccountId, AccountRole, AccountStatus, Command, Event, Events, Feed,
    Happened, Invitation, Name, NameKey, Node, OrderCommand, Outcome, Places, Position, Principal, Refusal,
    Room, RoomId, Rules, Scripts, Seq, ServerPower, Time, Token, TokenId, TokenKey, accounts, credentials,
    deletion, invitations, members, messages, order, rooms,
};

/// Everything that decides what happens next.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) rules: Rules,
    pub(crate) seq: Seq,
    pub(crate) time: Time,
    pub(crate) server: ServerFeed,
    pub(crate) openings: Openings,
    pub(crate) accounts: Accounts,
    pub(crate) tokens: Tokens,
    pub(crate) invitations: Invitations,
    pub(crate) rooms: Rooms,
    pub(crate) sent: Sent,
}

/// What a version of the rules consists of.
struct RuleSet {
    decide: fn(&State, Position, &Command) -> Result<Events, Refusal>,
    evolve: fn(&mut State, Position, &Event, &mut Places),
}

/// The versions from 1 on.
const RULES: [RuleSet; 1] = [RuleSet { decide: State::decide_1, evolve: State::evolve_1 }];

/// The newest rules that this program knows.
pub const NEWEST_RULES: Rules = Rules(RULES.len() as u16);

/// The journal goes on by rules that this program does not know: nothing after this entry can be decided here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it switches to rules {to}; this program knows rules up to {newest}: start a newer vang")]
pub struct RulesError {
    pub to: u16,
    pub newest: u16,
}

impl Default for State {
    fn default() -> State {
        State {
            rules: Rules(1),
            seq: Seq(0),
            time: Time(0),
            server: ServerFeed::default(),
            openings: Openings::default(),
            accounts: Accounts::default(),
            tokens: Tokens::default(),
            invitations: Invitations::default(),
            rooms: Rooms::default(),
            sent: Sent::default(),
        }
    }
}

impl State {
    /// Decides the entry at this place and takes over what came of it. A refused command leaves its
    /// place in the journal and nothing else. Ask `check_rules` before.
    pub fn apply(&mut self, at: Position, command: &Command) -> Result<Outcome, Refusal> {
        // The state's time never goes back, whatever the stamp says.
        let at = Position { time: at.time.max(self.time), ..at };
        let rules = self.rule_set();
        let decided = (rules.decide)(self, at, command);
        self.seq = at.seq;
        self.time = at.time;
        let mut outcome = Outcome::default();
        for event in decided? {
            outcome.events.push(Happened { event, places: Places::new() });
            if let Some(Happened { event, places }) = outcome.events.last_mut() {
                (rules.evolve)(self, at, event, places);
            }
        }
        Ok(outcome)
    }

    /// What would come of the command at this place, by the rules in force. Changes nothing.
    pub fn decide(&self, at: Position, command: &Command) -> Result<Events, Refusal> {
        (self.rule_set().decide)(self, at, command)
    }

    /// Can this program decide the command, and what comes after it?
    pub fn check_rules(command: &Command) -> Result<(), RulesError> {
        match command {
            Command::Order(OrderCommand::SwitchRules { to }) if *to > NEWEST_RULES => {
                Err(RulesError { to: to.0, newest: NEWEST_RULES.0 })
            }
            _ => Ok(()),
        }
    }

    /// The functions of the rules in force. A state never has a version that is not known here.
    fn rule_set(&self) -> &'static RuleSet {
        &RULES[usize::from(self.rules.0.clamp(1, NEWEST_RULES.0)) - 1]
    }

    fn decide_1(&self, at: Position, command: &Command) -> Result<Events, Refusal> {
        let State {
            rules,
            openings: _,
            accounts,
            tokens,
            invitations,
            rooms,
            sent,
            seq: _,
            time: _,
            server: _,
        } = self;
        if let Some(by) = command.by() {
            accounts.check_active(&by)?;
        }
        let event = match command {
            Command::Order(command) => order::decide(*rules, NEWEST_RULES, at, command)?.into(),
            &Command::Account(AccountCommand::SetStatus { who, status: AccountStatus::Deleted, by }) => {
                deletion::decide((accounts, tokens, rooms), who, by)?.into()
            }
            Command::Account(command) => accounts::decide(accounts, at, command)?.into(),
            Command::Credential(command) => credentials::decide(accounts, tokens, at, command)?.into(),
            Command::Invitation(command) => {
                invitations::decide((accounts, rooms, invitations), at, command)?.into()
            }
            Command::Room(command) => rooms::decide(rooms, accounts, at, command)?.into(),
            Command::Member(command) => members::decide(rooms, accounts, command)?.into(),
            Command::Message(command) => messages::decide(rooms, accounts, sent, at, command)?.into(),
        };
        Ok(smallvec![event])
    }

    fn evolve_1(&mut self, at: Position, event: &Event, places: &mut Places) {
        let State { rules, openings, accounts, tokens, invitations, rooms, sent, server, seq: _, time: _ } =
            self;
        match event {
            Event::Order(event) => order::evolve(rules, openings, at, event),
            Event::Account(AccountEvent::Deleted { who, rooms: left, erased: _ }) => {
                deletion::evolve((accounts, tokens, rooms), at, (*who, left), places);
            }
            Event::Account(event) => accounts::evolve((accounts, tokens), event),
            Event::Credential(event) => credentials::evolve((accounts, tokens), at, event),
            Event::Invitation(event) => {
                invitations::evolve((accounts, rooms, invitations), at, event, places);
            }
            Event::Room(event) => rooms::evolve((rooms, accounts, server), at, event, places),
            Event::Member(event) => members::evolve((rooms, accounts), at, event, places),
            Event::Message(event) => messages::evolve(rooms, sent, at, event, places),
        }
    }

    /// The last entry applied.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The largest stamp so far.
    pub fn time(&self) -> Time {
        self.time
    }

    /// The rules in force for the next entry.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// The account of this name.
    pub fn account(&self, name: &NameKey) -> Option<AccountId> {
        self.accounts.named(name)
    }

    /// Can a guest have this name, beside the accounts? It is no account's: that is asked before, with `account`.
    pub fn check_guest(&self, name: &Name) -> Result<(), Refusal> {
        self.accounts.looks().check(name)
    }

    /// Has any account a name in other scripts? If not, `check_guest` has nothing to say against one in these.
    pub fn has_accounts_in_other_scripts(&self, scripts: &Scripts) -> bool {
        self.accounts.looks().has_other_scripts(scripts)
    }

    /// The key of an account's name.
    pub fn name_of(&self, who: AccountId) -> Option<NameKey> {
        self.accounts.name_of(who)
    }

    /// What an account can do on the server.
    pub fn role(&self, who: AccountId) -> AccountRole {
        self.accounts.role(who)
    }

    /// Can an account be used?
    pub fn status(&self, who: AccountId) -> AccountStatus {
        self.accounts.status(who)
    }

    /// Was there ever an account?
    pub fn has_accounts(&self) -> bool {
        self.accounts.len() > 0
    }

    /// Has an account signed in before?
    pub fn has_entered(&self, who: AccountId) -> bool {
        self.accounts.has_entered(who)
    }

    /// The entry whose payload is the verifier of an account's password. `None`: it has no password.
    pub fn password(&self, who: AccountId) -> Option<Seq> {
        self.accounts.password(who)
    }

    /// Can somebody do this on the server? `with`: the account that it is done to.
    pub fn check_server(
        &self,
        power: ServerPower,
        who: &Principal,
        with: Option<AccountId>,
    ) -> Result<(), Refusal> {
        self.accounts.check_active(who)?;
        self.accounts.check_server(power, who, with)
    }

    /// The token with this key, unless it was ended. It may be over.
    pub fn token(&self, key: &TokenKey) -> Option<Token<'_>> {
        self.tokens.by_key(key)
    }

    /// A token, unless it was ended. It may be over.
    pub fn token_of_id(&self, id: TokenId) -> Option<Token<'_>> {
        self.tokens.by_id(id)
    }

    /// An account's tokens, oldest first. Some may be over.
    pub fn tokens_of(&self, who: AccountId) -> impl Iterator<Item = Token<'_>> {
        self.tokens.of_account(who)
    }

    /// The invitation with this key. It may be over or used up.
    pub fn invitation(&self, key: &TokenKey) -> Option<Invitation> {
        self.invitations.by_key(key)
    }

    /// Every invitation, oldest first. Some may be over or used up.
    pub fn invitations(&self) -> impl Iterator<Item = Invitation> {
        self.invitations.all()
    }

    /// The room of this name, if the reader can know of it.
    pub fn room_named(&self, name: &NameKey, reader: &Principal) -> Result<RoomId, Refusal> {
        self.rooms.named(name, reader)
    }

    /// A room.
    pub fn room(&self, id: RoomId) -> Option<&Room> {
        self.rooms.get(id)
    }

    /// The newest entry of a feed. `None`: there is no such feed.
    pub fn newest_of(&self, feed: Feed) -> Option<Seq> {
        match feed {
            Feed::Room(room) => self.rooms.get(room).map(|room| room.seq),
            Feed::Account(account) => self.accounts.feed_seq(account),
            Feed::Server => Some(self.server.seq),
        }
    }

    /// Every room, oldest first.
    pub fn rooms(&self) -> impl Iterator<Item = (RoomId, &Room)> {
        self.rooms.iter()
    }

    /// The rooms that this reader can know of, newest first.
    pub fn known_rooms(&self, reader: &Principal) -> KnownRooms<'_> {
        self.rooms.known().of(reader)
    }

    /// The last process that opened the journal.
    pub fn epoch(&self) -> Option<Node> {
        self.openings.last()
    }

    /// Has this process opened the journal, as far as is remembered? Others may have opened it since.
    pub fn has_opened(&self, node: Node) -> bool {
        self.openings.contains(node)
    }

    /// Every process that opened the journal, in order, as far as they are remembered.
    pub fn openings(&self) -> impl DoubleEndedIterator<Item = Node> {
        self.openings.nodes()
    }

    /// How far somebody who last saw `seq` while `epoch` ordered agrees with this journal: an older
    /// copy that was put back has lost what `epoch` ordered after the copy was made. `None`: that
    /// process never ordered here, as far as is remembered.
    pub fn common_with(&self, epoch: Node, seq: Seq) -> Option<Seq> {
        // Before its own opening a process saw what the earlier ones left, which is still here.
        Some(seq.min(self.openings.end_of(epoch, self.seq)?))
    }
}
