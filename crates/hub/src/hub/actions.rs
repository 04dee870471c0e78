//! What a client asks: answered at once, refused, or put into the order. One file a subject.

mod rooms;
mod members;
mod messages;
mod accounts;
mod sign_in;
mod credentials;
mod failed_keys;
mod invitations;
mod follow;
mod history;
mod find;

use bytes::Bytes;
use serde::Serialize;
use vang_chat::{AccountStatus, Command, Event, Events, MessageEvent, Position, Refusal};
use vang_journal::{MessagePayloadView, Through, UnknownView};
use vang_proto::vang::{
    Action, Audience, Code, ErrorReply, Hello, NoKeys, ReplyKeys, Request, Ticket, write_json,
};

use self::invitations::Wanted;
use crate::admission::{Peer, Speaking, refused};
use crate::hub::{Hub, Output};
use crate::queue::QueueFull;
use crate::session::Asker;
use crate::session::SessionId;

impl Hub {
    /// A request came. Its reply is an output, now or later.
    pub fn request(&mut self, id: SessionId, ticket: Ticket, mut request: Request) {
        if let Some(behind) = self.session_mut(id).and_then(|session| session.waits_for_secret.as_mut()) {
            return behind.push_back((ticket, request));
        }
        let asker = Asker { session: id, ticket, re: request.re.take(), made: None };
        if let Err(error) = self.ask(&asker, request) {
            self.refuse(asker, &error);
        }
    }

    fn ask(&mut self, asker: &Asker, request: Request) -> Result<(), ErrorReply> {
        let peer = self.session(asker.session).map_or(Peer::RemotePlain, |session| session.peer);
        if peer == Peer::RemotePlain {
            return Err(ErrorReply::new(
                Code::TlsRequired,
                "names and rooms need TLS on a connection that does not come from this machine",
            ));
        }
        self.check_signed_in(asker.session)?;
        // Who signs in is not yet who the name says.
        if let Action::SignIn { password, token, device } = request.action {
            return self.sign_in(asker, request.name.as_deref(), (password, token), device);
        }
        if let Action::Accept { code, new, device } = request.action {
            return self.begin_accept(asker, request.name.as_deref(), (code, new), device);
        }
        let speaking = self.speaking(asker.session, request.name.as_deref(), &request.action)?;
        self.check_grant(&speaking, &request.action)?;
        let who = speaking.principal;
        if request.action.info().audience == Audience::OperatorSocket && peer != Peer::Operator {
            return Err(refused(&Refusal::NotAllowed));
        }
        match request.action {
            Action::Ping => self.accept(asker, &NoKeys {}, "pong"),
            Action::Hello => self.hello(asker, &speaking),
            Action::Rooms { after, limit } => self.list_rooms(asker, &who, after, limit),
            Action::Who { room } => self.list_people(asker, &who, &room)?,
            Action::Send { room, id, content_type, content_encoding, content } => {
                let said = MessagePayloadView {
                    guest: speaking.guest.as_deref(),
                    content_type: &content_type,
                    content_encoding: &content_encoding,
                    content: &content,
                    unknown: UnknownView::default(),
                };
                self.send(asker, who, &room, id.as_deref(), said)?;
            }
            Action::Follow { rooms, feeds, from } => self.follow(asker, &who, (&rooms, &feeds), from)?,
            Action::History { room, since, limit } => self.history(asker, &who, &room, since, limit)?,
            Action::Find { query, limit, before } => self.find(asker, &who, &query, limit, before)?,
            Action::Create { room, access } => self.create(asker, &who, &room, access)?,
            Action::SetTopic { room, topic } => self.set_topic(asker, &who, &room, &topic)?,
            Action::Join { room, who: other } => self.join(asker, &who, &room, other.as_deref())?,
            Action::Leave { room } => self.leave(asker, &who, &room)?,
            // Who drives the hub knows the sockets and the machine, and has answered it.
            Action::Status => return Err(refused(&Refusal::NotAllowed)),
            Action::AddAccount { name } => self.add_account(asker, &who, &name)?,
            Action::SetRole { name, role } => self.set_role(asker, &who, &name, role)?,
            Action::DisableAccount { name } => {
                self.set_status(asker, &who, &name, AccountStatus::Disabled)?;
            }
            Action::DeleteAccount { name } => {
                self.set_status(asker, &who, &name, AccountStatus::Deleted)?;
            }
            Action::EnableAccount { name } => self.set_status(asker, &who, &name, AccountStatus::Active)?,
            Action::SetPassword { new, old, name } => {
                self.set_password(asker, &who, (new, old), name.as_deref())?;
            }
            Action::CreateToken { title, scope, rooms, days, name } => {
                self.make_token(asker, &who, (&title, scope), (&rooms, days), name.as_deref())?;
            }
            Action::Sessions { name } => self.list_sessions(asker, &who, name.as_deref())?,
            Action::EndSession { id, name } => self.end_session(asker, &who, id, name.as_deref())?,
            Action::SignOut => self.sign_out_of(asker, &who)?,
            Action::Invite { title, uses, days, room, role, name } => {
                self.invite(asker, &who, Wanted { title, uses, days, room, role, name })?;
            }
            Action::Invitations => self.list_invitations(asker, &who)?,
            Action::EndInvitation { id } => self.end_invitation(asker, &who, id)?,
            Action::SignIn { .. } | Action::Accept { .. } => {}
        }
        Ok(())
    }

    fn hello(&mut self, asker: &Asker, speaking: &Speaking) {
        let keys = Hello {
            protocol: 1,
            server: self.server.clone(),
            journal: self.identity.id_hex(),
            epoch: self.epoch(),
            seq: self.state.seq().0,
            name: self.book.speaker(&speaking.principal, speaking.guest.as_deref()).to_string(),
        };
        self.accept(asker, &keys, &keys.server);
    }

    /// Refuses what the rules would refuse now, answers what was sent before, orders the rest.
    pub(super) fn enqueue(
        &mut self,
        asker: &Asker,
        command: Command,
        payload: Bytes,
    ) -> Result<(), ErrorReply> {
        if self.stopping {
            return Err(ErrorReply::new(Code::Stopping, "the server is going down; connect again"));
        }
        if let [Event::Message(MessageEvent::Repeated { room, n, seq })] = self.decide(&command)?[..] {
            self.answer_sent(asker, room, n, seq);
            return Ok(());
        }
        let payload = self.salts.payload(payload);
        let through = match self.session(asker.session).map(|session| session.peer) {
            Some(Peer::Operator) => Through::OperatorSocket,
            _ => Through::Door,
        };
        self.order.push((command, through), payload, asker.clone()).map_err(|QueueFull| {
            ErrorReply::new(Code::Busy, "too much waits to be written; try again").with("retry-after", 200)
        })
    }

    /// As `enqueue`, for a name that the journal may know by an older key: then it is taken, which only those learn who can
    /// take names.
    fn enqueue_name(
        &mut self,
        asker: &Asker,
        command: Command,
        payload: Bytes,
        is_known: bool,
    ) -> Result<(), ErrorReply> {
        if is_known {
            self.decide(&command)?;
            return Err(refused(&Refusal::NameTaken));
        }
        self.enqueue(asker, command, payload)
    }

    /// What the rules would make of it now.
    fn decide(&self, command: &Command) -> Result<Events, ErrorReply> {
        let next =
            Position { seq: self.state.seq().next(), time: self.state.time(), node: self.order.node() };
        self.state.decide(next, command).map_err(|refusal| refused(&refusal))
    }

    /// A reply whose result is a list.
    fn accept_json(&mut self, asker: &Asker, keys: &impl ReplyKeys, list: &impl Serialize) {
        let bytes = write_json(asker.re.as_deref(), keys, list);
        self.outputs.push_back(Output::Reply { session: asker.session, ticket: asker.ticket, bytes });
    }
}
