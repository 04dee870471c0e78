//! Questions that the hub answers with JSON: the rooms, and what was found in them.

use hyper::{Response, StatusCode};
use vang_proto::limits::{FIND_LIMIT, QUERY_BYTES_MAX, ROOMS_PAGE_MAX};
use vang_proto::vang::{Action, Found, Reply, RequestWriter, RoomList};

use super::asked::{Answering, Asked, bad_name, refused_credential};
use super::reply::{NO_MEMORY, ResponseBody, refusal, text, whole};

/// The numbers behind a result, bytes at most.
const NUMBERS_BYTES: usize = 128;

/// `GET /rooms`: a page of the rooms that the client can see; `limit` and `after` as natively.
pub(super) fn rooms(asked: Asked<'_>) -> Answering<'_> {
    Box::pin(async move {
        let Ok(name) = asked.name() else { return bad_name() };
        let [limit, after] = match asked_numbers(&asked, [("limit", 1), ("after", 0)]) {
            Ok(numbers) => numbers,
            Err(why) => return text(StatusCode::BAD_REQUEST, why),
        };
        let rooms = Action::Rooms { after, limit: limit.unwrap_or(ROOMS_PAGE_MAX) };
        let asks = RequestWriter { name }.write(1, &rooms);
        json(&asked, &asks, |reply| {
            let RoomList { next } = reply.keys().unwrap_or_default();
            [("next", next), ("damaged", None), ("left-out", None)]
        })
        .await
    })
}

/// Numbers of the query, each with the least that it can be.
fn asked_numbers(asked: &Asked<'_>, keys: [(&'static str, u64); 2]) -> Result<[Option<u64>; 2], String> {
    let mut numbers = [None, None];
    for (found, (key, least)) in numbers.iter_mut().zip(keys) {
        match asked.argument(key).map(|value| value.parse::<u64>()) {
            None => {}
            Some(Ok(number)) if number >= least => *found = Some(number),
            Some(_) => return Err(format!("'{key}' must be an integer from {least}\n")),
        }
    }
    Ok(numbers)
}

/// `GET /find?q=QUERY`: messages that have these words; `limit` and `before` as natively.
pub(super) fn find(asked: Asked<'_>) -> Answering<'_> {
    Box::pin(async move {
        let Ok(name) = asked.name() else { return bad_name() };
        // How long it may be is said natively; here only that it fits into a header.
        let Some(query) = asked.argument("q").filter(|query| query.len() <= 2 * QUERY_BYTES_MAX) else {
            let why = format!("'q' must be what to look for, at most {QUERY_BYTES_MAX} bytes\n");
            return text(StatusCode::BAD_REQUEST, why);
        };
        let [limit, before] = match asked_numbers(&asked, [("limit", 1), ("before", 0)]) {
            Ok(numbers) => numbers,
            Err(why) => return text(StatusCode::BAD_REQUEST, why),
        };
        let find = Action::Find { query, limit: limit.unwrap_or(FIND_LIMIT), before };
        let asks = RequestWriter { name }.write(1, &find);
        json(&asked, &asks, |reply| {
            let Found { next, damaged, left_out, .. } = reply.keys().unwrap_or_default();
            [("next", next), ("damaged", damaged), ("left-out", left_out)]
        })
        .await
    })
}

/// The result of a native request, which is a JSON object, with these numbers of the reply's header, where it has
/// them.
async fn json(
    asked: &Asked<'_>,
    native: &[u8],
    numbers: impl Fn(&Reply) -> [(&'static str, Option<u64>); 3],
) -> Response<ResponseBody> {
    let mut session = match asked.session() {
        Ok(session) => session,
        Err(error) => return refused_credential(&error),
    };
    session.ask(native);
    match session.reply().await {
        None => text(StatusCode::SERVICE_UNAVAILABLE, "the server is going down\n"),
        Some(reply) if reply.code.is_some() => refusal(&reply),
        Some(reply) => {
            let mut body = Vec::new();
            if body.try_reserve(reply.content.len() + NUMBERS_BYTES).is_err() {
                return text(StatusCode::SERVICE_UNAVAILABLE, NO_MEMORY);
            }
            body.extend_from_slice(&reply.content);
            for (key, number) in numbers(&reply) {
                let Some(number) = number else { continue };
                if body.pop_if(|last| *last == b'}').is_some() {
                    body.extend_from_slice(format!(", \"{key}\": {number}}}").as_bytes());
                }
            }
            body.push(b'\n');
            // Counted until it is written.
            whole(StatusCode::OK, "application/json", asked.visitor.house.pump.memory.hold(body))
        }
    }
}
