//! What vang says in its messages (`docs/PROTOCOL.md` sections 3 to 7): a peer that only wants
//! frames needs nothing of this.

mod code; // every error code, and the error reply
mod arguments; // arguments of requests: read and written
mod action; // the table of actions
mod request; // what a client asks: read by the server, written by the client
mod reply; // what the server answers: written and read
mod event; // what the server tells: written and read
mod json_line; // an event as one line of JSON
mod session; // the server's side of a connection, as a machine
mod follower; // the client's side of following: resume, rewind, reconnect

pub use action::{ACTIONS, Action, ActionInfo, ArgumentInfo, Audience, Forms, Need, Repeats, Weight};
pub use arguments::{Access, FollowFrom};
pub use code::{Code, ErrorReply, Value};
pub use event::{
    Event, EventHead, Speaker, write_closing, write_epoch, write_hole, write_message, write_room_event,
};
pub use follower::{Advice, Backoff, Follower, NewStart};
pub use json_line::json_line;
pub use reply::{
    Incoming, NotVang, Page, Reply, incoming, write_error, write_json, write_ok, write_page, write_sent,
};
pub use request::{Form, NO_CONTENT, Request, RequestWriter};
pub use session::{ServerLimits, ServerSession, Step, Ticket};
