//! Commands: what somebody wants, as it is in the journal, in its final order.

use crate::{
    AccountCommand, CredentialCommand, InvitationCommand, MemberCommand, MessageCommand, OrderCommand,
    Principal, RoomCommand, RoomId,
};

/// A command, by its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Order(OrderCommand),
    Account(AccountCommand),
    Credential(CredentialCommand),
    Invitation(InvitationCommand),
    Room(RoomCommand),
    Member(MemberCommand),
    Message(MessageCommand),
}

impl Command {
    /// The room that it names. What happened there is in the outcome, not here.
    pub fn room(&self) -> Option<RoomId> {
        match self {
            Command::Order(_) | Command::Account(_) | Command::Credential(_) | Command::Invitation(_) => None,
            Command::Room(command) => command.room(),
            Command::Member(command) => command.room(),
            Command::Message(command) => Some(command.room()),
        }
    }

    /// The principal that asks for it. `None`: the server itself, or a person without an account.
    pub fn by(&self) -> Option<Principal> {
        match *self {
            Command::Order(_)
            | Command::Credential(CredentialCommand::RenewVerifier { .. })
            | Command::Invitation(InvitationCommand::Accept { .. }) => None,
            Command::Invitation(
                InvitationCommand::Create { by, .. } | InvitationCommand::Withdraw { by, .. },
            ) => Some(by),
            Command::Account(
                AccountCommand::Add { by, .. }
                | AccountCommand::SetRole { by, .. }
                | AccountCommand::SetStatus { by, .. },
            )
            | Command::Credential(
                CredentialCommand::SetPassword { by, .. }
                | CredentialCommand::CreateToken { by, .. }
                | CredentialCommand::EndTokens { by, .. },
            )
            | Command::Room(RoomCommand::Create { by, .. } | RoomCommand::SetTopic { by, .. })
            | Command::Member(MemberCommand::Join { by, .. })
            | Command::Message(MessageCommand::Send { from: by, .. }) => Some(by),
            Command::Member(MemberCommand::Leave { who, .. } | MemberCommand::Enter { who, .. }) => {
                Some(Principal::Account(who))
            }
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

impl From<CredentialCommand> for Command {
    fn from(command: CredentialCommand) -> Command {
        Command::Credential(command)
    }
}

impl From<InvitationCommand> for Command {
    fn from(command: InvitationCommand) -> Command {
        Command::Invitation(command)
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
