//! `find`: a line as typed becomes a question to the index; what was found becomes a reply. What the
//! asker may see is worked out here, from the state, before anything is looked for.

use vang_chat::{AccountStatus, Interval, Principal, Room, RoomId, Seq};
use vang_proto::vang::{self, Code, ErrorReply};
use vang_view::{Find, Found, Hit, Query, Shown, Stretch, Visible};

use crate::admission::bad_name;
use crate::cold::Read;
use crate::continuation::Continuation;
use crate::encode::rfc3339;
use crate::hub::Hub;
use crate::limits::{JOURNAL_RETRY_MS, SEARCHED_ROOMS_MAX};
use crate::session::Asker;
use crate::session::SessionId;

impl Hub {
    pub(in crate::hub) fn find(
        &mut self,
        asker: &Asker,
        who: &Principal,
        typed: &str,
        limit: u64,
        before: Option<u64>,
    ) -> Result<(), ErrorReply> {
        self.may_find(asker.session)?;
        let query = Query::parse(typed)
            .map_err(|bad| ErrorReply::new(Code::BadRequest, bad.to_string()).with("key", "query"))?;
        let rooms = |names: &[String]| -> Result<Vec<RoomId>, ErrorReply> {
            names.iter().map(|name| self.room(asker, name, who)).collect()
        };
        let (mut chosen, not_rooms) = (rooms(&query.rooms)?, rooms(&query.not_rooms)?);
        if chosen.is_empty() {
            chosen.extend(self.only_rooms(asker.session).into_iter().flatten());
        }
        chosen.sort_unstable();
        chosen.dedup();
        let (from, not_from) = (self.authors(&query.from)?, self.authors(&query.not_from)?);
        let end = self.state.seq();
        // Of what comes after this moment the state says nothing yet.
        let upto = before.map_or(end, |before| end.min(Seq(before.saturating_sub(1))));
        let (visible, left_out) = self.visible(who, &chosen);
        let find = Find { query, from, not_from, not_rooms, visible, end, upto, limit: limit as usize };
        self.read(
            upto,
            Read::Find(Box::new(find)),
            Continuation::Find { asker: asker.clone(), who: *who, left_out },
        );
        if let Some(session) = self.session_mut(asker.session) {
            session.is_finding = true;
        }
        Ok(())
    }

    /// One question a connection at a time: each may take all the time that a question has.
    fn may_find(&self, id: SessionId) -> Result<(), ErrorReply> {
        if self.session(id).is_none_or(|session| !session.is_finding) {
            return Ok(());
        }
        let detail = "this connection's last find is not answered yet; ask one at a time";
        Err(ErrorReply::new(Code::Busy, detail).with("retry-after", JOURNAL_RETRY_MS))
    }

    /// Who may be meant by these names: an account, and any guest who uses the name.
    fn authors(&self, names: &[String]) -> Result<Vec<Principal>, ErrorReply> {
        let mut authors = Vec::new();
        for name in names {
            let guest = name.strip_prefix(vang::GUEST_PREFIX);
            let typed = guest.unwrap_or(name);
            let (shown, key, account) = self.named(typed).map_err(|bad| bad_name("from", typed, &bad))?;
            authors.push(Principal::Guest(key));
            authors.extend(self.names.old_key(&shown).map(Principal::Guest));
            if guest.is_none() {
                let there = account.filter(|who| self.state.status(*who) != AccountStatus::Deleted);
                authors.extend(there.map(Principal::Account));
            }
        }
        Ok(authors)
    }

    /// What somebody may see, in all rooms or only in these; and of how many rooms and stays it is too much to look
    /// at everything. At most `SEARCHED_ROOMS_MAX` rooms and as many stays in them are looked at, the newest of those in which
    /// the asker is or was; the number of the others is kept. What others have costs no step.
    fn visible(&self, who: &Principal, chosen: &[RoomId]) -> (Visible, u64) {
        let mut visible = Visible { public: chosen.is_empty(), ..Visible::default() };
        let (mut private, mut left_out) = (Vec::new(), 0);
        if chosen.is_empty() {
            let known = self.state.known_rooms(who);
            private.extend(known.private_newest().take(SEARCHED_ROOMS_MAX));
            left_out = known.private_count() - private.len();
        }
        for &id in chosen {
            match self.state.room(id) {
                Some(room) if room.access.is_open() => visible.public_rooms.push(id),
                Some(_) => private.push(id),
                None => {}
            }
        }
        let mut stays_max = SEARCHED_ROOMS_MAX;
        for id in private {
            let Some(room) = self.state.room(id) else { continue };
            let stays = room.stays_of(who);
            let (too_many, newest) = stays.split_at(stays.len().saturating_sub(stays_max));
            look(&mut visible.stretches, id, room, newest);
            left_out += too_many.len();
            stays_max -= newest.len();
        }
        (visible, left_out as u64)
    }

    pub(in crate::hub) fn answer_found(
        &mut self,
        asker: &Asker,
        who: &Principal,
        found: &Found,
        left_out: u64,
    ) {
        // The index may be damaged on its disk: what it gives is shown only as far as the rules let this asker see it.
        let sees = |shown: &Shown| self.state.room(shown.room).is_some_and(|room| room.sees(who, shown.seq));
        let seen = found.hits.iter().filter(|hit| sees(&hit.message));
        let list: Vec<vang::Hit> = seen.map(|hit| self.hit(hit, &sees)).collect();
        let keys = vang::Found {
            count: list.len() as u64,
            next: found.hits.last().filter(|_| found.more).map(|last| last.message.seq.0),
            left_out: Some(left_out).filter(|&count| count > 0),
            damaged: Some(found.damaged).filter(|&count| count > 0),
        };
        self.accept_json(asker, &keys, &list);
    }

    fn hit(&self, hit: &Hit, sees: &dyn Fn(&Shown) -> bool) -> vang::Hit {
        let room = self.book.room(hit.message.room);
        let beside = |beside: &Option<Shown>| {
            beside.as_ref().filter(|beside| sees(beside)).map(|beside| self.excerpt(&room, beside))
        };
        let mut message = self.excerpt(&room, &hit.message);
        message.room = Some(room.to_string());
        message.marks = hit
            .message
            .text
            .as_ref()
            .map(|text| text.marks.iter().map(|&(from, to)| (from as u64, to as u64)).collect());
        vang::Hit { message, before: beside(&hit.before), after: beside(&hit.after) }
    }

    fn excerpt(&self, room: &str, shown: &Shown) -> vang::Excerpt {
        vang::Excerpt {
            address: format!("{room}#{}", shown.n),
            room: None,
            n: shown.n,
            seq: shown.seq.0,
            from: self.book.speaker(&shown.from, shown.guest.as_deref()).to_string(),
            time: rfc3339(shown.time),
            content_type: shown.content_type.clone(),
            text: shown.text.as_ref().map(|excerpt| excerpt.text.clone()),
            marks: None,
        }
    }
}

/// Adds the stretches of a private room that are seen by who had these stays there, newest first. A step for each stay.
fn look(stretches: &mut Vec<Stretch>, id: RoomId, room: &Room, stays: &[Interval]) {
    // The stretch under way, and how many messages there were before it.
    let mut open: Option<(Stretch, u64)> = None;
    for stay in stays.iter().rev() {
        let (newest, to) = stay.to.map_or((room.n, room.seq), |to| (to.n, to.seq));
        match &mut open {
            // Nothing was said in the absence: one stretch.
            Some((stretch, n)) if *n == newest => (stretch.from, *n) = (stay.from.seq, stay.from.n),
            _ => {
                stretches.extend(open.take().map(|(stretch, _)| stretch));
                open = Some((Stretch { room: id, from: stay.from.seq, to }, stay.from.n));
            }
        }
    }
    stretches.extend(open.map(|(stretch, _)| stretch));
}
