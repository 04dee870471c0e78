//! What vang says in its messages (`docs/PROTOCOL.md` sections 3 to 7): a peer that only wants
//! frames needs nothing of this.

mod code; // every error code, and the error reply
mod arguments; // arguments of requests: read and written
mod action; // the table of actions
mod keys; // keys of replies and events, by their types
mod request; // what a client asks: read by the server, written by the client
mod reply; // what the server answers: written and read
mod results; // rows of results that are lists
mod failed; // failed sign-ins, as their owner is told
mod status; // the result of `status`
mod event; // what the server tells: written and read
mod json_line; // an event as one line of JSON
mod session; // the server's side of a connection, as a machine
mod follower; // the client's side of following: resume, rewind, reconnect

pub use action::{
    ACTIONS, Action, ActionInfo, ArgumentInfo, Audience, Forms, Grant, Need, Rate, Repeats, Weight, Work,
};
pub use arguments::{Access, FeedName, FollowFrom, Role, TokenScope};
pub use code::{Code, ErrorKeys, ErrorReply, Value};
pub use event::{
    CONNECTION_EVENTS, ConnectionEvent, Content, Event, EventInfo, EventMessage, GUEST_PREFIX, ROOM_EVENTS,
    RoomEvent, Speaker,
};
pub use failed::failed_in_words;
pub use follower::{Advice, Backoff, Follower, NewStart};
pub use json_line::json_line;
pub use keys::KeyInfo;
pub use reply::{
    AccountAdded, AccountChanged, Following, Found, Hello, Incoming, IncomingError, InvitationEnded,
    InvitationList, Invited, NoKeys, Page, People, REPLIES, Reply, ReplyInfo, ReplyKeys, RoomChanged,
    RoomList, Sent, SessionList, SignedIn, TokenCreated, incoming, write_error, write_json, write_ok,
    write_page, write_sent,
};
pub use request::{Form, NO_CONTENT, Request, RequestWriter};
pub use results::{Excerpt, Hit, InvitationRow, MEMBER, Person, RoomRow, SessionRow};
pub use session::{ServerLimits, ServerSession, SessionStep, Ticket};
pub use status::{
    ConnectionsStatus, DamageStatus, DiskStatus, DoorStatus, JournalStatus, MemoryStatus, OpenFilesStatus,
    ProgressStatus, ServerStatus, SlowReader, UnreadStatus,
};
