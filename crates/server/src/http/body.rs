//! A request's body: read to its end, within the limits of a message. It counts as memory of the session that asks, which
//! can be refused for it as any client can. What is not read is dropped for a while before the connection closes: a reset
//! could overtake the answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::Response;
use hyper::body::{Body, Incoming};
use tokio::io::{AsyncRead, ReadBuf};
use vang_proto::limits::{DRAIN_BYTES_MAX, DRAIN_MS};
use vang_proto::vang::Code;

use super::asked::Asked;
use super::reply::{ResponseBody, fault, no_memory, refusal, stopping};
use super::session::HubSession;
use crate::fairness::turns::yield_turn;

/// Bytes that are dropped at once: 4 KiB.
const DROPPED_AT_ONCE: usize = 4 << 10;

/// Why a body was not read to its end.
enum BodyError {
    TooLong {
        found: Option<u64>,
    },
    Broken(hyper::Error),
    NoMemory,
    /// The session was refused meanwhile; its reply says why.
    Refused,
}

/// The body of a request that posts a message, or the answer if it cannot be read.
pub(super) async fn read(
    asked: &Asked<'_>,
    session: &mut HubSession,
) -> Result<Vec<u8>, Response<ResponseBody>> {
    let (max, ms) = {
        let limits = asked.visitor.house.limits.borrow();
        let session = limits.session();
        (limits.inline_bytes().min(session.frame.content), session.content_ms)
    };
    let Some(mut body) = asked.body.take() else { return Ok(Vec::new()) };
    let read = tokio::time::timeout(Duration::from_millis(ms), collect(&mut body, max, session)).await;
    let error = match read {
        Ok(Ok(bytes)) => return Ok(bytes),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    asked.body.set(Some(body));
    Err(match error {
        None => fault(Code::TimedOut, &format!("the body was not complete within {ms} ms")),
        Some(BodyError::TooLong { found }) => {
            let found = found.map_or("a body".to_owned(), |found| format!("a body of {found} bytes"));
            fault(Code::TooLong, &format!("{found} exceeds the limit of {max} bytes for a message in a room"))
        }
        Some(BodyError::Broken(error)) => {
            fault(Code::BadRequest, &format!("the body cannot be read: {error}"))
        }
        Some(BodyError::NoMemory) => no_memory(),
        Some(BodyError::Refused) => match session.reply().await {
            Some(reply) => refusal(&reply),
            None if session.is_refused() => no_memory(),
            None => stopping(),
        },
    })
}

async fn collect(body: &mut Incoming, max: u64, session: &HubSession) -> Result<Vec<u8>, BodyError> {
    let claimed = body.size_hint().lower();
    if claimed > max {
        return Err(BodyError::TooLong { found: Some(claimed) });
    }
    let mut len = 0;
    loop {
        let frame = poll_fn(|cx| match session.poll_refused(cx) {
            Poll::Ready(()) => Poll::Ready(Err(BodyError::Refused)),
            Poll::Pending => Pin::new(&mut *body).poll_frame(cx).map(Ok),
        });
        let Some(frame) = frame.await? else { break };
        // Trailers say nothing that is used here.
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
        len += data.len() as u64;
        if len > max {
            return Err(BodyError::TooLong { found: None });
        }
        session.add_to_body(&data, claimed as usize).map_err(|_| BodyError::NoMemory)?;
    }
    // What is not complete was given up.
    match session.is_refused() {
        true => Err(BodyError::Refused),
        false => Ok(session.take_body()),
    }
}

/// Reads and drops what a client still sends after its answer.
pub(super) async fn drain(stream: &mut (impl AsyncRead + Unpin)) {
    let dropping = async {
        let mut dropped = 0;
        while dropped < DRAIN_BYTES_MAX {
            let read = poll_fn(|cx| {
                // Not held while nothing comes: thousands may be closing.
                let mut space = [0; DROPPED_AT_ONCE];
                let mut buffer = ReadBuf::new(&mut space);
                let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer));
                Poll::Ready(read.map(|()| buffer.filled().len()))
            });
            match read.await {
                Ok(0) | Err(_) => return,
                Ok(n) => dropped += n as u64,
            }
            yield_turn().await;
        }
        // It is left to wait: closing at once would reset the connection.
        std::future::pending::<()>().await;
    };
    let _ = tokio::time::timeout(Duration::from_millis(DRAIN_MS), dropping).await;
}
