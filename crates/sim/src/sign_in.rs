//! Devices: clients from other machines, which sign in with a password or a token, or make an account with an invitation. An
//! account has several. Each follows its account's feed and the room `general`, and checks what the server grants and refuses
//! against the model: behind some entry between the request and the reply it must have been right.

use std::collections::{BTreeSet, VecDeque};

use vang_chat::{AccountRole, Scope, TokenKey};
use vang_hub::Peer;
use vang_proto::Decoder;
use vang_proto::frame::Limits;
use vang_proto::limits::{CLIENT_CONTENT_BYTES_MAX, HEADER_BYTES_MAX};
use vang_proto::vang::FeedName;

use crate::following::{Following, Since};
use crate::network::PipeId;
use crate::scene::Scene;

mod ask; // what a device asks
mod done; // what came of it, once it is signed in
mod hear; // what it receives, and its checks

/// The administrator, who invites and disables.
pub(crate) const ADMIN: &str = "chief";

/// Accounts with a password from the start, each on two devices.
pub(crate) const PEOPLE: [&str; 2] = ["kim", "lee"];

/// Newcomers with a code, in one world.
pub(crate) const NEWCOMERS_MAX: usize = 3;

/// How long a device waits after its connection has ended, ms.
const AWAY_MS: u64 = 400;

/// The key of a token, written a second time.
fn token_key(token: &str) -> TokenKey {
    TokenKey(blake3::derive_key("vang 2026-11-30 key of a token", token.as_bytes()))
}

fn code_key(code: &str) -> TokenKey {
    TokenKey(blake3::derive_key("vang 2026-11-30 key of an invitation", code.as_bytes()))
}

/// With what a connection has signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Password,
    Token(TokenKey),
}

/// With what a device tries to sign in.
#[derive(Clone, Debug)]
enum Way {
    Password { password: String, keeps: bool },
    Token(String),
}

#[derive(Clone, Debug)]
enum Asked {
    Hello,
    SignIn(Way),
    Accept { code: String, new: String },
    Follow,
    Act(Act),
}

/// Something that somebody who is signed in asks.
#[derive(Clone, Debug)]
struct Act {
    what: &'static str,
    /// What a token must be good for.
    needs: Scope,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// To a room: create, join, leave, send.
    Room,
    Password {
        new: String,
        old: String,
    },
    MakeToken,
    Sessions,
    /// `None`: all others.
    End(Option<u64>),
    SignOut,
    /// Disable or enable an account.
    SetStatus,
    Invite {
        role: AccountRole,
    },
    EndInvitation(u64),
}

/// A request, and the server's last applied entry when it was made.
#[derive(Debug)]
struct Waiting {
    re: u64,
    asked: Asked,
    applied: u64,
}

#[derive(Debug)]
struct Connection {
    pipe: PipeId,
    run: u32,
    decoder: Decoder,
    waiting: VecDeque<Waiting>,
    next_re: u64,
    /// Signs in later: under this name it is a guest until then.
    guest: Option<String>,
    proof: Option<Proof>,
    /// Its password was right, and no token could be made: it may be signed in all the same.
    may_be_signed_in: bool,
    /// The journal's last entry when it had signed in.
    signed_in_at: u64,
    /// Entries with which this connection ended others.
    own_ends: BTreeSet<u64>,
    follows: bool,
    last_seq: u64,
    /// Why the server closes it.
    closing: Option<String>,
    signs_out: bool,
}

impl Connection {
    /// Has no older copy been put back since?
    fn is_current(&self, scene: &Scene) -> bool {
        scene.survives(self.run, u64::MAX)
    }
}

/// A device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) label: String,
    /// The account's name.
    name: String,
    /// The code with which the account is made.
    code: Option<String>,
    token: Option<String>,
    pub(crate) following: Option<Following>,
    connection: Option<Connection>,
    call_at: u64,
    /// Acknowledged actions: name, run of the server, entry.
    done: Vec<(&'static str, u32, u64)>,
    /// Acknowledged passwords: run of the server, entry, text.
    passwords: Vec<(u32, u64, String)>,
    typed: BTreeSet<u64>,
}

impl Device {
    pub(crate) fn new(label: &str, name: &str, code: Option<String>) -> Device {
        Device {
            label: label.to_owned(),
            name: name.to_owned(),
            code,
            token: None,
            following: None,
            connection: None,
            call_at: 0,
            done: Vec::new(),
            passwords: Vec::new(),
            typed: BTreeSet::new(),
        }
    }

    pub(crate) fn account(&self, scene: &Scene) -> Option<u64> {
        scene.model.account(&self.name)
    }

    /// One tick.
    pub(crate) fn turn(&mut self, scene: &mut Scene) {
        if let Some(connection) = self.connection.take() {
            self.connection = self.receive(scene, connection);
        }
        if let Some(connection) = self.connection.take() {
            self.connection = self.go_on(scene, connection);
        } else if scene.is_up && scene.env.now() >= self.call_at && self.wants_in(scene) {
            self.connection = Some(self.call(scene));
        }
    }

    /// Can it sign in, or make its account?
    fn wants_in(&self, scene: &Scene) -> bool {
        let now = scene.model.seq().0;
        if scene.env.weather.people_act {
            return true;
        }
        match self.account(scene) {
            Some(account) => {
                scene.model.password_at(account, now).is_some() && !scene.model.is_disabled(account, now)
            }
            None => false,
        }
    }

    fn call(&mut self, scene: &mut Scene) -> Connection {
        let pipe = scene.network.open(Peer::RemoteTls);
        let limits = Limits { header: HEADER_BYTES_MAX, content: CLIENT_CONTENT_BYTES_MAX };
        scene.env.note(format_args!("{} calls", self.label));
        let mut connection = Connection {
            pipe,
            run: scene.run,
            decoder: Decoder::new(limits),
            waiting: VecDeque::new(),
            next_re: 1,
            guest: None,
            proof: None,
            may_be_signed_in: false,
            signed_in_at: 0,
            own_ends: BTreeSet::new(),
            follows: false,
            last_seq: 0,
            closing: None,
            signs_out: false,
        };
        if scene.env.weather.people_act && scene.env.rng.happens(250) {
            self.ask_as_guest(scene, &mut connection);
        } else {
            self.sign_in(scene, &mut connection);
        }
        connection
    }

    fn go_on(&mut self, scene: &mut Scene, mut connection: Connection) -> Option<Connection> {
        let acts = scene.env.weather.people_act;
        if connection.signs_out || connection.closing.is_some() || !connection.waiting.is_empty() {
            return Some(connection);
        }
        if connection.proof.is_none() {
            if !self.wants_in(scene) {
                return self.hang_up(scene, connection);
            }
            if connection.guest.is_some() && (!acts || scene.env.rng.happens(200)) {
                self.sign_in(scene, &mut connection);
                return Some(connection);
            }
            return match connection.guest {
                Some(_) => Some(connection),
                // It was refused.
                None => self.hang_up(scene, connection),
            };
        }
        if !connection.follows && self.can_follow(scene, &connection) {
            self.follow(scene, &mut connection);
        }
        if acts && scene.env.rng.happens(scene.env.weather.act) {
            return self.act(scene, connection);
        }
        if !acts {
            // In the end each device can do and has everything.
            if !is_a_device(scene, &connection) {
                return self.hang_up(scene, connection);
            }
            self.enable_all(scene, &mut connection);
        }
        Some(connection)
    }

    /// A token for some rooms is good for no feed.
    fn can_follow(&self, scene: &Scene, connection: &Connection) -> bool {
        match connection.proof {
            Some(Proof::Token(key)) => scene.model.token(&key).is_none_or(|token| token.rooms.is_empty()),
            _ => true,
        }
    }

    fn hang_up(&mut self, scene: &mut Scene, connection: Connection) -> Option<Connection> {
        scene.network.cut(connection.pipe, &mut scene.env);
        self.lost(scene, connection);
        None
    }

    pub(crate) fn cut(&mut self, scene: &mut Scene) {
        if let Some(connection) = self.connection.take() {
            scene.env.note(format_args!("{} is cut off", self.label));
            self.hang_up(scene, connection);
        }
    }

    fn lost(&mut self, scene: &mut Scene, connection: Connection) {
        if let Some(following) = &mut self.following
            && connection.follows
        {
            following.keyed.connection_ended(connection.last_seq);
        }
        self.call_at = scene.env.now() + scene.env.rng.between(1, AWAY_MS);
    }

    /// The feeds of its account; also the server's, if it likes.
    fn start_following(&mut self, scene: &mut Scene) {
        let mut feeds = vec![FeedName::Account];
        feeds.extend(scene.env.rng.happens(500).then_some(FeedName::Server));
        let rooms = vec!["general".to_owned()];
        self.following = Some(Following::new(Some(self.name.clone()), (rooms, feeds), Since::Now));
    }

    /// Has it signed in as the account's owner does?
    pub(crate) fn is_signed_in(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.proof.is_some() && connection.follows)
    }

    pub(crate) fn is_quiet(&self, scene: &Scene) -> bool {
        match &self.connection {
            None => !self.wants_in(scene) && scene.env.now() >= self.call_at,
            Some(connection) => connection.waiting.is_empty() && connection.follows,
        }
    }

    /// Checks everything that it received, and that what was acknowledged is in the journal.
    pub(crate) fn check(&self, scene: &Scene) -> usize {
        for &(what, run, seq) in &self.done {
            if scene.survives(run, seq) {
                assert_eq!(scene.model.done(seq), Some(what), "{}'s {what} at {seq}", self.label);
            }
        }
        if let Some(account) = self.account(scene) {
            for (run, seq, password) in &self.passwords {
                let there = scene.model.password_at(account, *seq).unwrap_or_default();
                let is_true = there == password || there.is_empty();
                assert!(!scene.survives(*run, *seq) || is_true, "{}'s password of {seq}", self.label);
            }
        }
        if let Some(connection) = &self.connection {
            self.check_not_ended(scene, connection);
        }
        let is_complete = self.connection.as_ref().is_some_and(|connection| connection.follows);
        let following = self.following.as_ref();
        following.map_or(0, |following| following.check(scene, &self.label, self.account(scene), is_complete))
    }
}

/// Has it signed in with more than a script's token?
fn is_a_device(scene: &Scene, connection: &Connection) -> bool {
    match connection.proof {
        Some(Proof::Token(key)) => scene.model.token(&key).is_some_and(|token| token.scope == Scope::Device),
        Some(Proof::Password) => true,
        None => false,
    }
}
