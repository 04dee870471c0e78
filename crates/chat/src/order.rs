//! The order itself: which process opened the journal, which rules hold, and that time has passed.

use std::collections::BTreeMap;
use std::ops::Bound;

use minicbor::{Decode, Encode};

use crate::digest::Digest;
use crate::limits::OPENINGS_MAX;
use crate::steps::{Kept, Key, Step};
use crate::{Node, Position, Refusal, Rules, Seq};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderCommand {
    /// A server process opened the journal and orders from here on.
    Open,
    /// Decide by these rules from the next entry on.
    SwitchRules { to: Rules },
    /// Time has passed: do what is due.
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderEvent {
    /// A server process took over the order.
    Opened {
        node: Node,
    },
    /// The version from the next entry on.
    RulesSwitched {
        to: Rules,
    },
    Ticked,
}

/// `newest`: the newest rules that this program knows.
pub(crate) fn decide(
    now: Rules,
    newest: Rules,
    at: Position,
    command: &OrderCommand,
) -> Result<OrderEvent, Refusal> {
    match *command {
        OrderCommand::Open => Ok(OrderEvent::Opened { node: at.node }),
        OrderCommand::Tick => Ok(OrderEvent::Ticked),
        OrderCommand::SwitchRules { to } if to <= now || to > newest => {
            Err(Refusal::OldRules { to: to.0, now: now.0 })
        }
        OrderCommand::SwitchRules { to } => Ok(OrderEvent::RulesSwitched { to }),
    }
}

pub(crate) fn evolve(rules: &mut Rules, openings: &mut Openings, at: Position, event: &OrderEvent) {
    match *event {
        OrderEvent::Opened { node } => openings.add(OpeningRow { seq: at.seq, node }),
        OrderEvent::RulesSwitched { to } => *rules = to,
        OrderEvent::Ticked => {}
    }
}

/// One opening of the journal, as the hash and the snapshot contain it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct OpeningRow {
    #[n(0)]
    pub(crate) seq: Seq,
    #[n(1)]
    pub(crate) node: Node,
}

/// The newest openings of the journal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Openings {
    by_seq: BTreeMap<Seq, Node>,
    /// A process's last opening.
    by_node: BTreeMap<Node, Seq>,
    digest: Digest,
    pub(crate) kept: Kept<OpeningRow>,
}

impl Openings {
    pub(crate) fn add(&mut self, row: OpeningRow) {
        self.digest.add(&row);
        self.by_seq.insert(row.seq, row.node);
        self.by_node.insert(row.node, row.seq);
        if self.by_seq.len() > OPENINGS_MAX
            && let Some((seq, node)) = self.by_seq.pop_first()
        {
            let row = OpeningRow { seq, node };
            self.kept.keep(seq.0, || row);
            self.digest.take_away(&row);
            if self.by_node.get(&node) == Some(&seq) {
                self.by_node.remove(&node);
            }
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// As they were at an entry. Every field is named: a new one does not compile until it is in a row or left out on
    /// purpose.
    pub(crate) fn steps(&self, [from, ..]: Key, at: Seq) -> impl Iterator<Item = Step<OpeningRow>> {
        // `by_node` follows from the openings that are remembered.
        let Openings { by_seq, by_node: _, digest: _, kept } = self;
        let there = by_seq.range(Seq(from)..).take_while(move |&(&seq, _)| seq <= at);
        // The oldest are forgotten first.
        let forgotten = kept.from(at, from).map(|(_, &row)| row);
        let rows = forgotten.chain(there.map(|(&seq, &node)| OpeningRow { seq, node }));
        rows.map(|row| ([row.seq.0, 0, 0], Some(row)))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_seq.len()
    }

    pub(crate) fn last(&self) -> Option<Node> {
        self.by_seq.last_key_value().map(|(_, &node)| node)
    }

    pub(crate) fn contains(&self, node: Node) -> bool {
        self.by_node.contains_key(&node)
    }

    pub(crate) fn nodes(&self) -> impl DoubleEndedIterator<Item = Node> {
        self.by_seq.values().copied()
    }

    /// The last entry before the opening that follows the last one of `node`; `end` if none follows.
    pub(crate) fn end_of(&self, node: Node, end: Seq) -> Option<Seq> {
        let opened = *self.by_node.get(&node)?;
        let after = (Bound::Excluded(opened), Bound::Unbounded);
        Some(self.by_seq.range(after).next().map_or(end, |(&next, _)| Seq(next.0 - 1)))
    }
}
