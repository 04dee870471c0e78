//! What a device receives, and its checks: who signs in gets what the model allows; a connection whose token or password has
//! ended is told, and ends.

use std::ops::RangeInclusive;

use vang_chat::Scope;
use vang_proto::Frame;
use vang_proto::vang::{
    Code, ConnectionEvent, Event, EventMessage, Incoming, Reply, RequestWriter, RoomEvent, SignedIn, incoming,
};

use super::{Asked, Connection, Device, Proof, Waiting, Way, code_key, token_key};
use crate::client::is_transient;
use crate::following::{Followed, read};
use crate::network::random_piece;
use crate::scene::Scene;

/// The entries behind which a request may have been decided.
type Between = RangeInclusive<u64>;

impl Device {
    pub(super) fn receive(&mut self, scene: &mut Scene, mut connection: Connection) -> Option<Connection> {
        let Some(pipe) = scene.network.get(connection.pipe) else {
            self.lost(scene, connection);
            return None;
        };
        let came = random_piece(&mut scene.env, &mut pipe.down);
        let ended = pipe.down.is_empty() && pipe.down_ended;
        if let Some(bytes) = came {
            connection.decoder.feed(&bytes);
        }
        while let Some(frame) = connection.decoder.poll_frame().expect("the server writes whole messages") {
            if !self.take(scene, &mut connection, frame) {
                return self.hang_up(scene, connection);
            }
        }
        if ended {
            self.check_end(scene, &connection);
            scene.network.close_client_side(connection.pipe);
            self.lost(scene, connection);
            return None;
        }
        Some(connection)
    }

    fn take(&mut self, scene: &mut Scene, connection: &mut Connection, frame: Frame) -> bool {
        scene.env.mix(frame.header.json());
        scene.env.mix(&frame.content);
        // Before it has signed in it is nobody.
        let account =
            self.account(scene).filter(|_| connection.proof.is_some() || connection.may_be_signed_in);
        match incoming(frame.clone()).expect("the server speaks vang") {
            Incoming::Reply(reply) => {
                let go_on = self.take_reply(scene, connection, &reply);
                let account = self.account(scene).filter(|_| connection.proof.is_some());
                scene.check_secrets(&self.label, account, &self.typed, &frame);
                go_on
            }
            Incoming::Event(message) => {
                scene.check_secrets(&self.label, account, &self.typed, &frame);
                if let Event::Room { seq, what, .. } = &message.event
                    && !matches!(what, RoomEvent::Hole { .. })
                {
                    scene.check_bytes(*seq, &frame);
                }
                self.take_event(scene, connection, &message);
                true
            }
        }
    }

    fn take_event(&mut self, scene: &mut Scene, connection: &mut Connection, message: &EventMessage) {
        let who = &self.label;
        match &message.event {
            Event::Connection(ConnectionEvent::Closing { why }) => {
                scene.env.note(format_args!("{who} is told: {why}"));
                if why == "signed-out" {
                    scene.env.count("a connection told that it was signed out");
                    let is_true = self.proof_has_ended(scene, connection) || connection.signs_out;
                    assert!(is_true || !connection.is_current(scene), "{who} was signed out for nothing");
                }
                connection.closing = Some(why.clone());
                return;
            }
            event @ Event::Connection(ConnectionEvent::Epoch { .. }) => {
                if let Some(following) = &mut self.following {
                    following.follower.handle_event(event);
                }
                return;
            }
            _ => {}
        }
        assert!(connection.proof.is_some() && connection.follows, "{who} follows nothing: {message:?}");
        let seen = read(message).expect("an event with a place");
        scene.env.note(format_args!("{who} receives {}: {} {:?}", seen.seq, seen.room, seen.what));
        assert!(seen.seq > connection.last_seq, "{who} receives {} after {}", seen.seq, connection.last_seq);
        connection.last_seq = seen.seq;
        if connection.run == scene.run {
            assert!(seen.seq <= scene.model.seq().0, "{who} receives {} before it is durable", seen.seq);
        }
        if let Some(Proof::Token(key)) = connection.proof
            && let Some(ended) = scene.model.token(&key).and_then(|token| token.span.ended)
        {
            scene.env.count("an event from before a token's end");
            assert!(seen.seq <= ended, "{who} receives {} with a token that ended at {ended}", seen.seq);
        }
        let Some(following) = &mut self.following else { panic!("{who} follows nothing") };
        assert!(following.follower.handle_event(&message.event), "{who} receives {} twice", seen.seq);
        following.received(connection.run, seen);
    }

    fn take_reply(&mut self, scene: &mut Scene, connection: &mut Connection, reply: &Reply) -> bool {
        let Some(Waiting { re, asked, applied }) = connection.waiting.pop_front() else {
            // Nothing whole came in time.
            return reply.code.as_deref() != Some(Code::TimedOut.as_str());
        };
        assert_eq!(reply.re, Some(re), "{}: replies come in the order of requests", self.label);
        let code = reply.code.as_deref();
        scene.env.note(format_args!("{} is answered {re}: {}", self.label, code.unwrap_or("ok")));
        let between = applied..=scene.model.seq().0.max(applied);
        match asked {
            Asked::Hello => {
                let fits = code.is_none() || is_transient(code);
                assert!(fits, "{}: {reply:?}", self.label);
            }
            Asked::SignIn(way) => self.take_sign_in(scene, connection, &way, between, reply),
            Asked::Accept { code, new } => self.take_accept(scene, connection, (&code, &new), between, reply),
            Asked::Follow => return self.take_follow(scene, connection, applied, reply),
            Asked::Act(act) => self.take_act(scene, connection, act, between, reply),
        }
        true
    }

    fn take_sign_in(
        &mut self,
        scene: &mut Scene,
        connection: &mut Connection,
        way: &Way,
        mut between: Between,
        reply: &Reply,
    ) {
        let account = self.account(scene);
        let (who, model) = (self.label.clone(), &scene.model);
        let is_active = |at: u64| account.is_some_and(|account| !model.is_disabled(account, at));
        let is_right = |at: u64| match way {
            Way::Password { password, .. } => {
                account.is_some_and(|account| model.password_at(account, at) == Some(password))
            }
            Way::Token(token) => model
                .token(&token_key(token))
                .is_some_and(|token| Some(token.who) == account && token.span.holds(at)),
        };
        let until = match way {
            Way::Password { .. } => None,
            Way::Token(token) => model.token(&token_key(token)).and_then(|token| token.until),
        };
        let Some(code) = reply.code.as_deref() else {
            let start = *between.start();
            let allowed = between.clone().any(|at| is_right(at) && is_active(at));
            let is_over = until.is_some_and(|until| until <= model.time_at(start));
            let is_current = connection.is_current(scene);
            assert!(!is_current || (allowed && !is_over), "{who} signed in with {way:?} in {between:?}");
            self.signed_in(scene, connection, way, reply);
            return;
        };
        let what = match code {
            "wrong-secret" => {
                let may_be_over = until.is_some_and(|until| until <= scene.env.latest_wall());
                let fits = may_be_over || between.any(|at| !is_right(at));
                assert!(fits || !connection.is_current(scene), "{who} was refused: {way:?}: {reply:?}");
                let what = match way {
                    Way::Password { .. } => "sign-in refused: password",
                    Way::Token(token) => match model.token(&token_key(token)) {
                        Some(token) if may_be_over && model.is_over(token) => {
                            "sign-in refused: token over by time"
                        }
                        Some(_) => "sign-in refused: token ended",
                        None => "sign-in refused: no such token",
                    },
                };
                if matches!(way, Way::Token(token) if self.token.as_ref() == Some(token)) {
                    self.token = None;
                }
                what
            }
            "account-disabled" => {
                let fits = between.any(|at| !is_active(at));
                assert!(fits || !connection.is_current(scene), "{who}: {reply:?}");
                "sign-in refused: account disabled"
            }
            // The password was right, and another device signed all others out before the token was made.
            "sign-in-needed" => {
                let account = account.unwrap_or_default();
                let is_ended = model.ends_after(account, *between.start()).next().is_some();
                let fits = is_ended && between.any(is_right);
                assert!(fits || !connection.is_current(scene), "{who}: {way:?}: {reply:?}");
                "signed out while signing in"
            }
            code => {
                assert!(is_transient(Some(code)) || code == "unknown", "{who}: {reply:?}");
                "sign-in put off"
            }
        };
        scene.env.count(what);
        // Its token could not be made.
        connection.may_be_signed_in |=
            code != "wrong-secret" && matches!(way, Way::Password { keeps: true, .. });
    }

    fn signed_in(&mut self, scene: &mut Scene, connection: &mut Connection, way: &Way, reply: &Reply) {
        let SignedIn { name, token, .. } = reply.keys().expect("who signed in");
        assert_eq!(name, self.name, "{} signed in as somebody else", self.label);
        connection.signed_in_at = scene.model.seq().0;
        scene.env.count(match (connection.guest.take(), way) {
            (Some(_), _) => "signed in later on a guest's connection",
            (None, Way::Token(_)) => "signed in with a token",
            (None, Way::Password { .. }) => "signed in with a password",
        });
        connection.proof = Some(match (way, token) {
            (Way::Token(token), None) => Proof::Token(token_key(token)),
            (Way::Password { keeps: false, .. }, None) => Proof::Password,
            (Way::Password { password, keeps: true }, Some(token)) => {
                let key = token_key(&token);
                if connection.is_current(scene) {
                    let there = scene.model.token(&key).expect("an acknowledged token is in the journal");
                    assert_eq!(Some(there.who), self.account(scene), "{}'s token", self.label);
                    assert_eq!(there.scope, Scope::Device, "{}'s token", self.label);
                    let before = scene.model.password_at(there.who, there.id - 1);
                    assert_eq!(before, Some(&**password), "{} got a token {}", self.label, there.id);
                }
                self.keep_token(scene, token);
                Proof::Token(key)
            }
            (way, token) => panic!("{}: {way:?} and a token: {}", self.label, token.is_some()),
        });
    }

    fn keep_token(&mut self, scene: &mut Scene, token: String) {
        scene.shared.tokens.push((self.name.clone(), token.clone()));
        self.token = Some(token);
    }

    fn take_accept(
        &mut self,
        scene: &mut Scene,
        connection: &mut Connection,
        (code, new): (&str, &str),
        mut between: Between,
        reply: &Reply,
    ) {
        let key = code_key(code);
        let (who, account) = (self.label.clone(), self.account(scene));
        let may = between.clone().any(|at| scene.model.can_accept(&key, at));
        let is_current = connection.is_current(scene);
        match reply.code.as_deref() {
            None => {
                scene.env.count("invitation accepted");
                assert!(may || !is_current, "{who} made an account with a code that is not valid");
                if is_current {
                    let account = account.expect("the account is in the journal");
                    let is_its = between.any(|at| scene.model.password_at(account, at) == Some(new));
                    assert!(is_its, "{who}'s first password is not the account's");
                }
                let way = Way::Password { password: new.to_owned(), keeps: true };
                self.signed_in(scene, connection, &way, reply);
            }
            Some("no-invitation") => {
                scene.env.count("invitation refused");
                let fits = between.any(|at| !scene.model.can_accept(&key, at));
                assert!(fits || !is_current, "{who} was refused with a valid code: {reply:?}");
                if self.code.as_deref() == Some(code) {
                    self.code = scene.shared.codes.pop().map(|(_, code)| code);
                }
            }
            Some("weak-password") => {
                scene.env.count("weak password refused");
                assert!(new.len() < 8, "{who}: {reply:?}");
            }
            // It was made with another code, which is not valid any more.
            Some("name-taken") => {
                assert!(account.is_some() || !is_current, "{who}: {reply:?}");
                self.name = format!("new{}", scene.mark());
                self.following = None;
                scene.newcomers.push(self.name.clone());
            }
            Some("account-disabled") => {
                let account = account.unwrap_or_default();
                let fits = between.any(|at| scene.model.is_disabled(account, at));
                assert!(fits || !is_current, "{who}: {reply:?}");
            }
            // The account is there, and another entry signed it out before it had its token.
            Some("sign-in-needed") => {
                let account = account.unwrap_or_default();
                let is_ended = scene.model.ends_after(account, *between.start()).next().is_some();
                assert!(is_ended || !is_current, "{who}: {reply:?}");
            }
            code => assert!(is_transient(code) || code == Some("unknown"), "{who}: {reply:?}"),
        }
    }

    fn take_follow(
        &mut self,
        scene: &mut Scene,
        connection: &mut Connection,
        applied: u64,
        reply: &Reply,
    ) -> bool {
        let code = reply.code.as_deref();
        let between = applied..=scene.model.seq().0.max(applied);
        if connection.proof.is_none() {
            if connection.may_be_signed_in {
                return false;
            }
            let fits = matches!(code, Some("sign-in-needed" | "name-set" | "account-disabled"));
            assert!(fits || is_transient(code), "{} follows before it has signed in: {reply:?}", self.label);
            scene.env.count("follow refused behind a sign-in that was refused");
            return true;
        }
        let Some(following) = &mut self.following else { panic!("{} follows nothing", self.label) };
        let (writer, at) = (RequestWriter { name: Some(self.name.clone()) }, (connection.run, applied));
        match following.take_reply(scene, &self.label, at, &writer, reply) {
            Followed::Yes => {
                connection.follows = true;
                true
            }
            Followed::Send(opening) => {
                self.send(scene, connection, (0, Asked::Follow), &opening);
                true
            }
            Followed::Later => false,
            Followed::No(code) => {
                self.check_refused(scene, connection, (&code, Scope::Read), between, reply);
                false
            }
        }
    }

    /// Did something end what the connection signed in with?
    fn proof_has_ended(&self, scene: &Scene, connection: &Connection) -> bool {
        let Some(account) = self.account(scene) else { return true };
        match connection.proof {
            Some(Proof::Token(key)) => scene.model.token(&key).is_none_or(|token| token.span.ended.is_some()),
            // It may have ended between the check of the password and the reply.
            Some(Proof::Password) | None => scene.model.ends_after(account, 0).next().is_some(),
        }
    }

    /// The server closes a connection only if it was signed out, when it stops, or when it dies.
    fn check_end(&self, scene: &Scene, connection: &Connection) {
        if connection.run != scene.run || !scene.is_up || scene.is_stopping {
            return;
        }
        let is_due = self.proof_has_ended(scene, connection) || connection.signs_out;
        assert!(is_due, "{}: the connection ended without a reason", self.label);
        let is_told = connection.closing.is_some() || !connection.follows;
        assert!(is_told, "{}: the connection ended, and it was not told", self.label);
    }

    /// Nobody is connected whose token or password has ended.
    pub(super) fn check_not_ended(&self, scene: &Scene, connection: &Connection) {
        let Some(account) = self.account(scene) else { return };
        let ended = match connection.proof {
            Some(Proof::Token(key)) => scene.model.token(&key).and_then(|token| token.span.ended),
            Some(Proof::Password) => {
                let mut ends = scene.model.ends_after(account, connection.signed_in_at);
                ends.find(|end| !connection.own_ends.contains(end))
            }
            None => None,
        };
        assert_eq!(ended, None, "{} is still signed in", self.label);
    }
}
