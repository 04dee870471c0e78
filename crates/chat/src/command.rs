//! Commands: what somebody wants, as it is in the journal, in its final order.

use crate::{AccountCommand, MemberCommand, MessageCommand, OrderCommand, RoomCommand};

/// A command, by its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Order(OrderCommand),
    Account(AccountCommand),
    Room(RoomCommand),
    Member(MemberCommand),
    Message(MessageCommand),
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
