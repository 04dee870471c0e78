//! `find`: a line as typed becomes a question to the index; what was found becomes a reply. What the
//! asker may see is worked out here, from the state, before anything is looked for.

use serde_json::{Map, Value as Json};
use vang_chat::{Access, Principal, Room, RoomId, Seq};
use vang_proto::vang::{Code, ErrorReply, Value, write_json};
use vang_view::{Excerpt, Find, Found, Hit, Query, Shown, Sight, Stretch};

use crate::cold::Read;
use crate::door::bad_name;
use crate::encode::rfc3339;
use crate::limits::SEARCHED_ROOMS_MAX;
use crate::order::Asker;

use super::{Hub, Output, Reading};

impl Hub {
    pub(super) fn find(
        &mut self,
        asker: &Asker,
        who: &Principal,
        typed: &str,
        limit: u64,
        before: Option<u64>,
    ) -> Result<(), ErrorReply> {
        self.may_read()?;
        let query = Query::parse(typed).map_err(|bad| {
            ErrorReply::new(Code::BadRequest, format!("argument 'query': {bad}")).with("key", "query")
        })?;
        let rooms = |names: &[String]| -> Result<Vec<RoomId>, ErrorReply> {
            names.iter().map(|name| self.room(name, who)).collect()
        };
        let (chosen, not_rooms) = (rooms(&query.rooms)?, rooms(&query.not_rooms)?);
        let (from, not_from) = (self.authors(&query.from)?, self.authors(&query.not_from)?);
        let end = self.state.seq();
        // Of what comes after this moment the state says nothing yet.
        let upto = before.map_or(end, |before| end.min(Seq(before.saturating_sub(1))));
        let (sight, left_out) = self.sight(who, &chosen, end);
        let find = Find { query, from, not_from, not_rooms, sight, end, upto, limit: limit as usize };
        self.read(upto, Read::Find(Box::new(find)), Reading::Find { asker: asker.clone(), left_out });
        Ok(())
    }

    /// Who may be meant by these names: an account, and any guest who uses the name.
    fn authors(&self, names: &[String]) -> Result<Vec<Principal>, ErrorReply> {
        let mut authors = Vec::new();
        for name in names {
            let guest = name.strip_prefix("guest:");
            let (_, key) = self.names.make(guest.unwrap_or(name)).map_err(|bad| bad_name("from", &bad))?;
            authors.push(Principal::Guest(key));
            if guest.is_none() {
                authors.extend(self.state.account(&key).map(Principal::Account));
            }
        }
        Ok(authors)
    }

    /// What somebody may see, in all rooms or only in these; and of how many rooms it is too much to
    /// look at everything.
    fn sight(&self, who: &Principal, chosen: &[RoomId], end: Seq) -> (Sight, u64) {
        let mut sight = Sight { public: chosen.is_empty(), ..Sight::default() };
        if chosen.is_empty() {
            let private = self.state.rooms().filter(|(_, room)| room.access == Access::Private);
            private.for_each(|(id, room)| look(&mut sight, id, room, who, end));
        } else {
            let mut chosen = chosen.to_vec();
            chosen.sort_unstable();
            chosen.dedup();
            let rooms = chosen.iter().filter_map(|&id| Some((id, self.state.room(id)?)));
            rooms.for_each(|(id, room)| look(&mut sight, id, room, who, end));
        }
        // The newest rooms and stays are kept.
        let too_many = sight.whole.len().saturating_sub(SEARCHED_ROOMS_MAX);
        sight.whole.drain(..too_many);
        sight.stretches.sort_by_key(|stretch| (stretch.to, stretch.from));
        let too_many_stretches = sight.stretches.len().saturating_sub(SEARCHED_ROOMS_MAX);
        sight.stretches.drain(..too_many_stretches);
        (sight, (too_many + too_many_stretches) as u64)
    }

    pub(super) fn answer_found(&mut self, asker: &Asker, found: &Found, left_out: u64) {
        let list: Vec<Json> = found.hits.iter().map(|hit| self.hit(hit)).collect();
        let mut keys = vec![("count", Value::Number(list.len() as u64))];
        if let Some(last) = found.hits.last().filter(|_| found.more) {
            keys.push(("next", last.message.seq.0.into()));
        }
        if left_out > 0 {
            keys.push(("left-out", left_out.into()));
        }
        let bytes = write_json(asker.re.as_deref(), &keys, &Json::from(list).to_string());
        self.outputs.push_back(Output::Reply { session: asker.session, ticket: asker.ticket, bytes });
    }

    fn hit(&self, hit: &Hit) -> Json {
        let room = self.book.room(hit.message.room).into_owned();
        let mut message = self.shown(&room, &hit.message);
        message.insert("room".to_owned(), room.as_str().into());
        if let Some(Excerpt { marks, .. }) = &hit.message.text {
            let marks = marks.iter().map(|&(from, to)| Json::from([from, to].to_vec()));
            message.insert("marks".to_owned(), marks.collect());
        }
        for (key, beside) in [("before", &hit.before), ("after", &hit.after)] {
            if let Some(beside) = beside {
                message.insert(key.to_owned(), self.shown(&room, beside).into());
            }
        }
        message.into()
    }

    fn shown(&self, room: &str, shown: &Shown) -> Map<String, Json> {
        let from = match (&shown.from, &shown.guest) {
            (Principal::Account(account), _) => self.book.account(*account).into_owned(),
            (Principal::Guest(_), guest) => format!("guest:{}", guest.as_deref().unwrap_or("anon")),
            (Principal::Operator, _) => "server".to_owned(),
        };
        let mut out = Map::new();
        let mut put = |key: &str, value: Json| drop(out.insert(key.to_owned(), value));
        put("address", format!("{room}#{}", shown.n).into());
        put("n", shown.n.into());
        put("seq", shown.seq.0.into());
        put("from", from.into());
        put("time", rfc3339(shown.time).into());
        put("content-type", shown.content_type.as_str().into());
        if let Some(Excerpt { text, .. }) = &shown.text {
            put("text", text.as_str().into());
        }
        out
    }
}

/// Adds what a reader may see of a room.
fn look(sight: &mut Sight, id: RoomId, room: &Room, who: &Principal, end: Seq) {
    if room.sees_all(who) {
        sight.whole.push(id);
        return;
    }
    let mut stretches: Vec<(Stretch, u64)> = Vec::new();
    let mut since = None;
    for stay in room.stays_of(who) {
        let stretch = Stretch { room: id, from: stay.from.seq, to: stay.to.map_or(end, |to| to.seq) };
        since.get_or_insert(stay.from.n);
        let newest = stay.to.map_or(room.n, |to| to.n);
        match stretches.last_mut() {
            // Nothing was said in the absence: one stretch.
            Some((before, n)) if *n == stay.from.n => (before.to, *n) = (stretch.to, newest),
            _ => stretches.push((stretch, newest)),
        }
    }
    match &stretches[..] {
        [(only, newest)] if since == Some(0) && *newest == room.n && only.to == end => sight.whole.push(id),
        _ => sight.stretches.extend(stretches.into_iter().map(|(stretch, _)| stretch)),
    }
}
