//! Commands: what somebody wants, as it is in the journal, in its final order.

use crate::{AccountCommand, MemberCommand, MessageCommand, OrderCommand, RoomCommand, RoomId};

/// A command, by its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Order(OrderCommand),
    Account(AccountCommand),
    Room(RoomCommand),
    Member(MemberCommand),
    Message(MessageCommand),
}

impl Command {
    /// The room that it names. What happened there is in the outcome, not here.
    pub fn room(&self) -> Option<RoomId> {
        match self {
            Command::Order(_) | Command::Account(_) => None,
            Command::Room(command) => command.room(),
            Command::Member(command) => Some(command.room()),
            Command::Message(command) => Some(command.room()),
        }
    }
}

impl From<OrderCommand> for Command {
    fn from(command: OrderCommand) -> Command {
        Command::Order(command)
    }
}

impl From<AccountCommand> for Command {
    fn from(command: AccountCommand) -> Command {
        Command::Account(command)
    }
}

impl From<RoomCommand> for Command {
    fn from(command: RoomCommand) -> Command {
        Command::Room(command)
    }
}

impl From<MemberCommand> for Command {
    fn from(command: MemberCommand) -> Command {
        Command::Member(command)
    }
}

impl From<MessageCommand> for Command {
    fn from(command: MessageCommand) -> Command {
        Command::Message(command)
    }
}
