//! What a device asks: to sign in, in right ways and wrong ones; to follow; and what only somebody can ask who is signed in.

use vang_chat::{AccountRole, Scope};
use vang_proto::Secret;
use vang_proto::vang::{Access, Action, RequestWriter, Role, TokenScope};

use super::{ADMIN, Act, Asked, Connection, Device, Kind, PEOPLE, Waiting, Way, token_key};
use crate::scene::{Scene, private_room};

impl Device {
    fn put(
        &self,
        scene: &mut Scene,
        connection: &mut Connection,
        name: Option<&str>,
        (asked, action): (Asked, &Action),
    ) {
        let re = connection.next_re;
        connection.next_re += 1;
        let bytes = RequestWriter { name: name.map(str::to_owned) }.write(re, action);
        self.send(scene, connection, (re, asked), &bytes);
    }

    pub(super) fn send(
        &self,
        scene: &mut Scene,
        connection: &mut Connection,
        (re, asked): (u64, Asked),
        bytes: &[u8],
    ) {
        scene.env.note(format_args!("{} asks {re}: {asked:?}", self.label));
        connection.waiting.push_back(Waiting { re, asked, applied: scene.applied });
        if let Some(pipe) = scene.network.get(connection.pipe) {
            pipe.up.extend_from_slice(bytes);
        }
    }

    pub(super) fn ask_as_guest(&self, scene: &mut Scene, connection: &mut Connection) {
        let guest = format!("visitor{}", scene.mark());
        self.put(scene, connection, Some(&guest), (Asked::Hello, &Action::Hello));
        connection.guest = Some(guest);
    }

    /// Signs in, or makes the account first.
    pub(super) fn sign_in(&mut self, scene: &mut Scene, connection: &mut Connection) {
        let now = scene.model.seq().0;
        let account = self.account(scene);
        let has_password = account.is_some_and(|account| scene.model.password_at(account, now).is_some());
        if let Some(code) = self.code.clone().filter(|_| !has_password) {
            return self.accept(scene, connection, code);
        }
        let way = self.way(scene, account);
        let (password, token, device) = match way.clone() {
            Way::Password { password, keeps } => {
                (Some(Secret::new(password)), None, keeps.then(|| self.label.clone()))
            }
            Way::Token(token) => (None, Some(Secret::new(token)), None),
        };
        let needs_name = password.is_some() || scene.env.rng.happens(500);
        let name = needs_name.then(|| self.name.clone());
        let action = Action::SignIn { password, token, device };
        let asked = Asked::SignIn(way);
        self.put(scene, connection, name.as_deref(), (asked, &action));
        // Not every client waits for the reply.
        if self.following.is_some() && scene.env.rng.happens(300) {
            self.follow(scene, connection);
        }
    }

    fn accept(&self, scene: &mut Scene, connection: &mut Connection, code: String) {
        let code = match scene.env.weather.people_act && scene.env.rng.happens(150) {
            true => format!("vang_invite_{:032x}", scene.env.rng.any()),
            false => code,
        };
        let new = self.new_password(scene);
        let device = Some(self.label.clone());
        let secret = Secret::new;
        let action = Action::Accept { code: secret(code.clone()), new: secret(new.clone()), device };
        self.put(scene, connection, Some(&self.name), (Asked::Accept { code, new }, &action));
    }

    fn new_password(&self, scene: &mut Scene) -> String {
        let mark = scene.mark();
        match scene.env.weather.people_act && scene.env.rng.happens(80) {
            true => format!("pw{}", mark % 1_000),
            false => format!("password {mark} of {}", self.name),
        }
    }

    fn way(&self, scene: &mut Scene, account: Option<u64>) -> Way {
        let now = scene.model.seq().0;
        let right = account.and_then(|account| scene.model.password_at(account, now));
        let right = right.unwrap_or("nobody has it").to_owned();
        let chance = if scene.env.weather.people_act { scene.env.rng.below(100) } else { 0 };
        match chance {
            0..50 => {
                let is_usable = |token: &&String| {
                    let token = scene.model.token(&token_key(token));
                    scene.env.weather.people_act || token.is_some_and(|token| token.span.holds(now))
                };
                // One that is over by time was refused before, and is forgotten.
                match self.token.as_ref().filter(is_usable) {
                    Some(token) => Way::Token(token.clone()),
                    None => Way::Password { password: right, keeps: true },
                }
            }
            50..64 => {
                let tokens = &scene.shared.tokens;
                // Where days pass, rather those that only time ends.
                let is_meant = |token: &str| {
                    let token = scene.model.token(&token_key(token));
                    scene.env.weather.days == 0 || token.is_some_and(|token| token.span.holds(now))
                };
                let own = tokens.iter().filter(|(name, token)| *name == self.name && is_meant(token));
                let own: Vec<String> = own.map(|(_, token)| token.clone()).collect();
                match scene.env.rng.pick(&own) {
                    Some(token) => Way::Token(token.clone()),
                    None => Way::Token(format!("vang_{:064x}", scene.env.rng.any())),
                }
            }
            64..72 => {
                let old = account.map(|account| scene.model.old_passwords(account)).unwrap_or_default();
                let old = scene.env.rng.pick(&old).map(|old| (*old).to_owned());
                Way::Password { password: old.unwrap_or_else(|| "a guess".to_owned()), keeps: true }
            }
            72..84 => Way::Password { password: right, keeps: false },
            _ => Way::Password { password: right, keeps: true },
        }
    }

    pub(super) fn follow(&mut self, scene: &mut Scene, connection: &mut Connection) {
        if self.following.is_none() {
            self.start_following(scene);
        }
        let Some(following) = &self.following else { return };
        let opening = following.follower.opening();
        self.send(scene, connection, (0, Asked::Follow), &opening);
    }

    /// When all is to become well.
    pub(super) fn enable_all(&self, scene: &mut Scene, connection: &mut Connection) {
        if self.name != ADMIN {
            return;
        }
        let now = scene.model.seq().0;
        let disabled = PEOPLE.into_iter().map(str::to_owned).chain(scene.newcomers.clone());
        let disabled: Vec<String> = disabled
            .filter(|name| {
                scene.model.account(name).is_some_and(|account| scene.model.is_disabled(account, now))
            })
            .collect();
        for name in disabled {
            let act = Act { what: "account-enable", needs: Scope::Admin, kind: Kind::SetStatus };
            let own = self.name.clone();
            self.put(scene, connection, Some(&own), (Asked::Act(act), &Action::EnableAccount { name }));
        }
    }

    /// Does something at random.
    pub(super) fn act(&mut self, scene: &mut Scene, mut connection: Connection) -> Option<Connection> {
        let manages = scene.env.rng.happens(if self.name == ADMIN { 600 } else { 60 });
        let chosen = match manages {
            true => self.manage(scene),
            false => match scene.env.rng.below(100) {
                0..34 => self.act_in_a_room(scene),
                34..50 => self.change_password(scene),
                50..60 => Some(make_token(scene)),
                60..68 => {
                    let act = Act { what: "sessions", needs: Scope::Device, kind: Kind::Sessions };
                    Some((act, Action::Sessions { name: None }))
                }
                68..84 => Some(self.end_tokens(scene)),
                84..88 => {
                    connection.signs_out = true;
                    let act = Act { what: "sign-out", needs: Scope::Read, kind: Kind::SignOut };
                    Some((act, Action::SignOut))
                }
                _ => return self.hang_up(scene, connection),
            },
        };
        if let Some((act, action)) = chosen {
            let name = scene.env.rng.happens(500).then(|| self.name.clone());
            self.put(scene, &mut connection, name.as_deref(), (Asked::Act(act), &action));
        }
        Some(connection)
    }

    fn act_in_a_room(&mut self, scene: &mut Scene) -> Option<(Act, Action)> {
        let account = self.account(scene);
        let known = |room: &&String| scene.model.knows(account, room);
        let rooms: Vec<String> = scene.private.values().chain(&scene.public).filter(known).cloned().collect();
        let is_new = scene.public.len() + scene.private.len() <= 12 && scene.env.rng.happens(150);
        let room = scene.env.rng.pick(&rooms)?.clone();
        let is_inside = scene.model.is_member(account, &room);
        let action = match scene.env.rng.below(3) {
            _ if is_new => {
                let mark = scene.mark();
                self.typed.insert(mark);
                scene.private.insert(mark, private_room(mark));
                Action::Create { access: Access::Private, room: private_room(mark) }
            }
            0 => {
                let mark = scene.mark();
                let is_private = scene.private.values().any(|private| *private == room);
                let word = match is_private {
                    true => crate::scene::private_word(mark),
                    false => format!("{}-{mark}", self.label),
                };
                Action::text(&room, &word)
            }
            _ if is_inside => Action::Leave { room },
            _ => Action::Join { room, who: None },
        };
        Some((Act { what: action.name(), needs: Scope::Send, kind: Kind::Room }, action))
    }

    fn change_password(&self, scene: &mut Scene) -> Option<(Act, Action)> {
        let now = scene.model.seq().0;
        let right = scene.model.password_at(self.account(scene)?, now)?.to_owned();
        let old = if scene.env.rng.happens(250) { "a guess".to_owned() } else { right };
        let new = self.new_password(scene);
        let kind = Kind::Password { new: new.clone(), old: old.clone() };
        let action = Action::SetPassword { new: Secret::new(new), old: Some(Secret::new(old)), name: None };
        Some((Act { what: "password", needs: Scope::Device, kind }, action))
    }

    fn end_tokens(&self, scene: &mut Scene) -> (Act, Action) {
        let now = scene.model.seq().0;
        let account = self.account(scene).unwrap_or_default();
        let tokens: Vec<u64> = scene.model.tokens_of(account, now).map(|token| token.id).collect();
        let id = match scene.env.rng.below(10) {
            0..3 => None,
            // Of another account, or no token.
            3..5 => Some(scene.env.rng.below(now) + 1),
            _ => scene.env.rng.pick(&tokens).copied(),
        };
        let act = Act { what: "session-end", needs: Scope::Device, kind: Kind::End(id) };
        (act, Action::EndSession { id, name: None })
    }

    /// What administrators do; others are refused.
    fn manage(&self, scene: &mut Scene) -> Option<(Act, Action)> {
        let (kind, action) = match scene.env.rng.below(10) {
            0..4 => {
                let roles = [(Role::Person, AccountRole::Person), (Role::Bot, AccountRole::Bot)];
                let (mut role, mut made) = *scene.env.rng.pick(&roles).expect("two");
                if scene.env.rng.happens(150) {
                    (role, made) = (Role::Admin, AccountRole::Admin);
                }
                let uses = scene.env.rng.between(1, 2);
                let room = scene.env.rng.happens(500).then(|| "general".to_owned());
                let invite = Action::Invite {
                    title: None,
                    uses: Some(uses),
                    days: Some(1),
                    room,
                    role: Some(role),
                    name: None,
                };
                (Kind::Invite { role: made }, invite)
            }
            4..6 => {
                let known: Vec<u64> = scene.model.invitations().map(|invitation| invitation.id).collect();
                let id = scene.env.rng.pick(&known).copied().unwrap_or(1);
                (Kind::EndInvitation(id), Action::EndInvitation { id })
            }
            other => {
                let mut names: Vec<String> = PEOPLE.map(str::to_owned).to_vec();
                names.extend(scene.newcomers.clone());
                let name = scene.env.rng.pick(&names)?.clone();
                let now = scene.model.seq().0;
                let account = scene.model.account(&name)?;
                let is_disabled = scene.model.is_disabled(account, now);
                let kind = Kind::SetStatus;
                match is_disabled || other > 7 {
                    true => (kind, Action::EnableAccount { name }),
                    false => (kind, Action::DisableAccount { name }),
                }
            }
        };
        Some((Act { what: action.name(), needs: Scope::Admin, kind }, action))
    }
}

/// For a script: it becomes one of the account's tokens that its devices try.
fn make_token(scene: &mut Scene) -> (Act, Action) {
    let scopes = [TokenScope::Read, TokenScope::Send, TokenScope::Admin];
    let scope = *scene.env.rng.pick(&scopes).expect("three");
    let rooms = if scene.env.rng.happens(300) { vec!["general".to_owned()] } else { Vec::new() };
    let days = (scene.env.weather.days > 0 || scene.env.rng.happens(500)).then_some(1);
    let act = Act { what: "token-create", needs: Scope::Device, kind: Kind::MakeToken };
    (act, Action::CreateToken { title: "a script".to_owned(), scope, rooms, days, name: None })
}
