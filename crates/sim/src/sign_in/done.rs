//! What comes of what somebody asks who is signed in: it is granted or refused as the model says.

use std::ops::RangeInclusive;

use vang_chat::{AccountRole, Scope};
use vang_proto::vang::{
    AccountChanged, InvitationEnded, Invited, Reply, RoomChanged, SessionRow, TokenCreated,
};

use super::{ADMIN, Act, Connection, Device, Kind, Proof};
use crate::client::is_transient;
use crate::scene::Scene;

impl Device {
    /// Refusals that have nothing to do with what was asked.
    pub(super) fn check_refused(
        &self,
        scene: &Scene,
        connection: &Connection,
        (code, needs): (&str, Scope),
        mut between: RangeInclusive<u64>,
        reply: &Reply,
    ) {
        let account = self.account(scene).unwrap_or_default();
        let fits = match code {
            "sign-in-needed" => match connection.proof {
                Some(Proof::Token(key)) => scene.model.token(&key).is_none_or(|token| {
                    let may_be_over = token.until.is_some_and(|until| until <= scene.env.latest_wall());
                    may_be_over || between.any(|at| !token.span.holds(at))
                }),
                Some(Proof::Password) => scene.model.ends_after(account, *between.start()).next().is_some(),
                None => false,
            },
            "account-disabled" => between.any(|at| scene.model.is_disabled(account, at)),
            "not-allowed" => match connection.proof {
                Some(Proof::Token(key)) => {
                    scene.model.token(&key).is_none_or(|token| token.scope < needs || !token.rooms.is_empty())
                }
                Some(Proof::Password) | None => false,
            },
            code => is_transient(Some(code)) || code == "unknown",
        };
        assert!(fits || !connection.is_current(scene), "{}: {reply:?}", self.label);
    }

    pub(super) fn take_act(
        &mut self,
        scene: &mut Scene,
        connection: &mut Connection,
        Act { what, needs, kind }: Act,
        mut between: RangeInclusive<u64>,
        reply: &Reply,
    ) {
        let account = self.account(scene).unwrap_or_default();
        let (who, is_admin) = (self.label.clone(), self.name == ADMIN);
        let (model, is_current) = (&scene.model, connection.is_current(scene));
        let Some(code) = reply.code.as_deref() else {
            if let Some(Proof::Token(key)) = connection.proof
                && is_current
            {
                let token = model.token(&key).expect("it signed in with it");
                let start = *between.start();
                let is_over = token.until.is_some_and(|until| until <= model.time_at(start));
                let held = !is_over && between.clone().any(|at| token.span.holds(at));
                assert!(held, "{who} did {what} with a token that is not valid any more");
                assert!(token.scope >= needs, "{who} did {what} with a token of {:?}", token.scope);
            }
            self.take_done(scene, connection, what, &kind, between, reply);
            return;
        };
        // It goes on if it could not sign out.
        connection.signs_out = false;
        let (fits, counted) = match (&kind, code) {
            (
                Kind::Room,
                "no-room" | "not-member" | "already-member" | "too-many" | "name-taken" | "id-reused",
            ) => (true, "device refused in a room"),
            (Kind::Password { old, .. }, "wrong-secret") => {
                (between.any(|at| model.password_at(account, at) != Some(old)), "password change refused")
            }
            (Kind::Password { new, .. }, "weak-password") => (new.len() < 8, "weak password refused"),
            (Kind::End(id), "no-token") => {
                let id = id.unwrap_or_default();
                let is_missing = |at| model.tokens_of(account, at).all(|token| token.id != id);
                (between.any(is_missing), "ending a token refused")
            }
            (Kind::SignOut, "no-token") => {
                let is_ended = |at| match connection.proof {
                    Some(Proof::Token(key)) => model.token(&key).is_none_or(|token| !token.span.holds(at)),
                    _ => false,
                };
                (between.any(is_ended), "ending a token refused")
            }
            (Kind::EndInvitation(id), "no-invitation") => {
                (between.any(|at| !model.has_invitation(*id, at)), "withdrawing refused")
            }
            (Kind::Invite { .. }, "not-member") => (is_admin, "inviting refused"),
            (Kind::Invite { role: AccountRole::Admin }, "not-allowed") => (true, "inviting refused"),
            (Kind::Invite { .. }, "not-allowed") if !is_admin => (true, "inviting refused"),
            (Kind::EndInvitation(_), "not-allowed") if !is_admin => (true, "withdrawing refused"),
            (Kind::SetStatus, "not-allowed") if !is_admin => (true, "disabling refused"),
            // The model knows an account before the server has applied its entry.
            (Kind::SetStatus, "no-account") => (true, "disabling refused"),
            (Kind::MakeToken, "no-room" | "too-many") => (true, "making a token refused"),
            _ => {
                self.check_refused(scene, connection, (code, needs), between, reply);
                let counted = match code {
                    "sign-in-needed" => "refused with a token that has ended",
                    "not-allowed" => "refused for a token's scope",
                    "account-disabled" => "refused for a disabled account",
                    _ => "device put off",
                };
                (true, counted)
            }
        };
        assert!(fits || !is_current, "{who}: {what}: {kind:?}: {reply:?}");
        scene.env.count(counted);
    }

    fn take_done(
        &mut self,
        scene: &mut Scene,
        connection: &mut Connection,
        what: &'static str,
        kind: &Kind,
        mut between: RangeInclusive<u64>,
        reply: &Reply,
    ) {
        let account = self.account(scene).unwrap_or_default();
        let changed = || reply.keys::<AccountChanged>().map(|AccountChanged { seq, .. }| seq);
        let (counted, seq) = match kind {
            Kind::Room => (
                "device did something in a room",
                match what {
                    "send" => None,
                    _ => reply.keys().map(|RoomChanged { seq, .. }| seq),
                },
            ),
            Kind::Password { new, old } => {
                let seq = changed().expect("where it was set");
                let was_right = between.any(|at| scene.model.password_at(account, at) == Some(old));
                assert!(
                    was_right || !connection.is_current(scene),
                    "{} set a password with a wrong one",
                    self.label
                );
                self.passwords.push((connection.run, seq, new.clone()));
                connection.own_ends.insert(seq);
                ("password changed", Some(seq))
            }
            Kind::MakeToken => {
                scene.shared.tokens.push((self.name.clone(), reply.text.clone()));
                ("token made", reply.keys().map(|TokenCreated { seq, .. }| seq))
            }
            Kind::Sessions => {
                self.check_sessions(scene, connection, between, reply);
                ("sessions listed", None)
            }
            Kind::End(id) => {
                let seq = changed().expect("where it ended");
                connection.own_ends.insert(seq);
                (if id.is_some() { "token ended" } else { "all others ended" }, Some(seq))
            }
            Kind::SignOut => ("signed out", None),
            Kind::SetStatus => {
                let counted = if what == "account-disable" { "account disabled" } else { "account enabled" };
                (counted, changed())
            }
            Kind::Invite { .. } => {
                let Invited { id, seq, .. } = reply.keys().expect("an invitation");
                scene.shared.codes.push((id, reply.text.clone()));
                ("invited", Some(seq))
            }
            Kind::EndInvitation(_) => {
                ("invitation withdrawn", reply.keys().map(|InvitationEnded { seq, .. }| seq))
            }
        };
        scene.env.count(counted);
        if let Some(seq) = seq {
            let end = scene.model.seq().0;
            assert!(connection.run != scene.run || seq <= end, "{}: {what} before it is durable", self.label);
            self.done.push((what, connection.run, seq));
        }
    }

    fn check_sessions(
        &self,
        scene: &Scene,
        connection: &Connection,
        mut between: RangeInclusive<u64>,
        reply: &Reply,
    ) {
        if !connection.is_current(scene) {
            return;
        }
        let rows: Vec<SessionRow> = serde_json::from_str(&reply.text).expect("a list of sessions");
        let account = self.account(scene).unwrap_or_default();
        let all = || between.clone().flat_map(|at| scene.model.tokens_of(account, at));
        for id in rows.iter().filter_map(|row| row.id) {
            assert!(all().any(|token| token.id == id), "{}: a session {id} that is not there", self.label);
        }
        let (start, end) = (*between.start(), *between.end());
        let stays = scene.model.tokens_of(account, start).filter(|token| {
            let may_be_over = token.until.is_some_and(|until| until <= scene.env.latest_wall());
            token.span.holds(end) && !may_be_over
        });
        for token in stays {
            let is_listed = rows.iter().any(|row| row.id == Some(token.id));
            assert!(is_listed, "{}: the token {} is not listed", self.label, token.id);
        }
        let own = rows.iter().filter(|row| row.own).count();
        let may_have_ended = between.any(|at| match connection.proof {
            Some(Proof::Token(key)) => scene.model.token(&key).is_none_or(|token| !token.span.holds(at)),
            _ => true,
        });
        assert!(own == 1 || may_have_ended, "{}: {own} own sessions", self.label);
    }
}
