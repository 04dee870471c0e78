//! Where following a feed begins, and where it resumes.

use std::collections::HashSet;

use vang_chat::{Feed, Node, Principal, RoomId, Seq, StartAfter};
use vang_proto::limits::FOLLOWED_ROOMS_MAX;
use vang_proto::vang::{Code, ErrorReply, FeedName, FollowFrom, Following};

use crate::admission::refused;
use crate::cold::Read;
use crate::continuation::Continuation;
use crate::cursor::{Cursor, Followed};
use crate::hub::{Hub, Output};
use crate::limits::{EPOCH_OPENINGS, EPOCH_PARTS_MAX};
use crate::session::Asker;
use crate::session::SessionId;

impl Hub {
    pub(in crate::hub) fn follow(
        &mut self,
        asker: &Asker,
        who: &Principal,
        (rooms, feeds): (&[String], &[FeedName]),
        from: FollowFrom,
    ) -> Result<(), ErrorReply> {
        let ids =
            rooms.iter().map(|name| self.room(asker, name, who)).collect::<Result<Vec<_>, ErrorReply>>()?;
        if !feeds.is_empty() {
            self.check_all_rooms(asker.session, "following 'account' or 'server'")?;
        }
        let feeds =
            feeds.iter().map(|name| keyed_feed(*name, who)).collect::<Result<Vec<_>, ErrorReply>>()?;
        let all = || ids.iter().map(|&room| Feed::Room(room)).chain(feeds.iter().copied());
        let Some(session) = self.session_mut(asker.session) else { return Ok(()) };
        if from != FollowFrom::Now && (session.cursor.is_some() || session.placing.is_some()) {
            let detail = "this connection follows already; 'since' and 'seq' go with its first follow";
            return Err(ErrorReply::new(Code::AlreadyFollowing, detail));
        }
        if let Some(behind) = &mut session.placing {
            behind.push((asker.clone(), all().collect()));
            return Ok(());
        }
        let now = self.state.seq();
        match from {
            FollowFrom::Now => {
                let starts = all().map(|feed| (feed, now, 0)).collect();
                self.begin_following(asker, starts);
            }
            FollowFrom::Position { journal, epoch, seq } => {
                let seq = self.resume_point(&journal, epoch.as_deref(), Seq(seq))?;
                let starts = all().map(|feed| (feed, seq, 0)).collect();
                self.begin_following(asker, starts);
            }
            FollowFrom::Numbers(numbers) => {
                let need = ids.iter().filter_map(|&room| self.state.room(room)).map(|room| room.seq).max();
                let starts = ids.iter().copied().zip(numbers.iter().copied());
                // A number beyond what this reader can know of means that it has everything: what is hidden later comes as a hole.
                let newest = |room| self.state.room(room).map_or(0, |there| there.newest_for(who));
                let starts = starts
                    .map(|(room, n)| (room, n.min(newest(room)), self.start_after(room, who, n)))
                    .collect::<Vec<_>>();
                let find = |&(room, n, start): &(RoomId, u64, StartAfter)| match start {
                    StartAfter::Message => Some((room, n)),
                    StartAfter::Entry(_) => None,
                };
                let asked = starts.iter().filter_map(find).collect();
                if let Some(session) = self.session_mut(asker.session) {
                    session.placing = Some(Vec::new());
                }
                let then = Continuation::Follow { asker: asker.clone(), starts, feeds };
                self.read(need.unwrap_or_default(), Read::Locate(asked), then);
            }
        }
        Ok(())
    }

    /// Where a client that was here before goes on; refuses a position that is not this journal's.
    fn resume_point(&self, journal: &str, epoch: Option<&str>, seq: Seq) -> Result<Seq, ErrorReply> {
        let known = epoch.map(|epoch| {
            // No server gives more of them, and each is looked up.
            let nodes = epoch.split('.').take(EPOCH_PARTS_MAX);
            let nodes = nodes.filter_map(|node| u64::from_str_radix(node, 16).ok());
            nodes.map(Node).find_map(|node| self.state.common_with(node, seq))
        });
        let ours = self.identity.id_hex();
        if journal != ours {
            let changed = |what: &str| {
                let detail = format!("the server has another journal than the one resumed; {what}");
                ErrorReply::new(Code::JournalChanged, detail).with("journal", ours)
            };
            return Err(match known.flatten() {
                // A journal restored from a backup has the openings of the one that it was made of.
                Some(common) => changed("resume it from the seq given, the last that both have in common")
                    .with("seq", common.0)
                    .with("epoch", self.epoch()),
                None => changed("start again from room numbers"),
            });
        }
        let end = self.state.seq();
        let detail = || format!("position {} is not in this journal any more; it ends at {end}", seq.0);
        match known {
            Some(Some(common)) if common == seq => Ok(seq),
            Some(Some(common)) => Err(ErrorReply::new(Code::SeqAhead, detail())
                .with("seq", common.0)
                .with("epoch", self.epoch())),
            Some(None) => Err(ErrorReply::new(Code::SeqAhead, detail())),
            None if seq > end => Err(ErrorReply::new(Code::SeqAhead, detail())),
            None => Ok(seq),
        }
    }

    /// Where a reader's following of a room after message `n` starts, as far as the reader may know.
    fn start_after(&self, room: RoomId, who: &Principal, n: u64) -> StartAfter {
        match self.state.room(room) {
            Some(there) => there.start_after(who, n).unwrap_or(StartAfter::Entry(self.state.seq())),
            None => StartAfter::Entry(self.state.seq()),
        }
    }

    /// What came behind a `follow` that had to be placed first.
    pub(in crate::hub) fn follow_behind(&mut self, id: SessionId) {
        let behind = self.session_mut(id).and_then(|session| session.placing.take());
        let now = self.state.seq();
        for (asker, feeds) in behind.into_iter().flatten() {
            self.begin_following(&asker, feeds.into_iter().map(|feed| (feed, now, 0)).collect());
        }
    }

    pub(in crate::hub) fn begin_following(&mut self, asker: &Asker, starts: Vec<(Feed, Seq, u64)>) {
        let rooms = starts.iter().filter_map(|(feed, ..)| feed.room());
        let names: Vec<_> = rooms.map(|room| self.book.room(room).into_owned()).collect();
        let id = asker.session;
        let followed = self.session(id).and_then(|session| session.cursor.as_ref());
        if followed.map_or(0, |cursor| cursor.feeds.len()) + starts.len() > FOLLOWED_ROOMS_MAX {
            let detail = format!("one connection follows at most {FOLLOWED_ROOMS_MAX} rooms and feeds");
            let error = ErrorReply::new(Code::TooMany, detail).with("limit", FOLLOWED_ROOMS_MAX as u64);
            return self.refuse(asker.clone(), &error);
        }
        let first = starts.iter().map(|&(_, seq, _)| seq).min().unwrap_or_default();
        let Some(session) =
            self.sessions.get_mut(id.slot as usize).filter(|session| session.generation == id.generation)
        else {
            return;
        };
        session.epoch_due = false;
        let cursor = session.cursor.get_or_insert_with(|| Cursor::at(first));
        let seq = cursor.seq;
        // A feed that is followed already stays as it is, and of one that is named twice the first counts. One step
        // for each feed that is followed or named: both are at most `FOLLOWED_ROOMS_MAX`.
        let mut fresh: HashSet<Feed> = starts.iter().map(|&(feed, _, _)| feed).collect();
        for followed in &cursor.feeds {
            fresh.remove(&followed.feed);
        }
        for (feed, from, since) in starts {
            if !fresh.remove(&feed) {
                continue;
            }
            let followers = self.followers.entry(feed).or_default();
            let index = cursor.feeds.len() as u32;
            let place = followers.len() as u32;
            followers.push((id, index));
            cursor.feeds.push(Followed { feed, from, since, place, is_grown: false });
            cursor.mark_grown(index);
        }
        let keys = Following { journal: self.identity.id_hex(), epoch: self.epoch(), seq: seq.0 };
        let result = if names.is_empty() { "following".to_owned() } else { names.join(" ") };
        self.accept(asker, &keys, &result);
        self.outputs.push_back(Output::Follows { session: id });
        self.wake(id);
    }

    pub(in crate::hub) fn epoch(&self) -> String {
        // Before its opening is written this process has ordered nothing; but who follows already is told
        // what it will order, and must be able to say so when it comes back.
        let unopened = (!self.is_open()).then_some(self.order.node());
        let openings = unopened.into_iter().chain(self.state.openings().rev().take(EPOCH_OPENINGS));
        let openings: Vec<String> = openings.map(|node| node.to_string()).collect();
        openings.join(".")
    }

    /// Another process has opened the journal: sends each follower the event `epoch`, before anything that came after the
    /// opening. The client resumes with this epoch, and gets no event twice.
    pub(in crate::hub) fn announce_epoch(&mut self) {
        let due: Vec<SessionId> = self.session_ids(|session| session.cursor.is_some()).collect();
        for id in due {
            if let Some(session) = self.session_mut(id) {
                session.epoch_due = true;
            }
            self.wake(id);
        }
    }
}

/// The feed of this name for who asks.
fn keyed_feed(name: FeedName, who: &Principal) -> Result<Feed, ErrorReply> {
    let feed = match name {
        FeedName::Account => Feed::own_account(who),
        FeedName::Server => Ok(Feed::Server),
    };
    feed.and_then(|feed| feed.check(who).map(|()| feed)).map_err(|refusal| {
        let mut error = refused(&refusal);
        if error.code == Code::AccountNeeded {
            error.detail =
                "only an account has the feed 'account'; say who you are with 'as', or leave the feed out"
                    .to_owned();
        }
        error
    })
}
