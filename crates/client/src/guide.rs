//! The tutorial's client (`docs/PROTOCOL.md` section 2): one request, one response, close. It sends the same
//! bytes as the tutorial's example client, so any server written from the tutorial understands it.

use bytes::{Bytes, BytesMut};
use vang_proto::guide::{Arguments, text_content};
use vang_proto::python::write_json_string;
use vang_proto::{Composer, Frame};

use crate::address::ServerAddr;
use crate::connection::Connection;
use crate::retry::Deadline;
use crate::trouble::ClientError;

/// The server's response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The result of a JSON response, printed as Python prints it.
    Result(String),
    /// The content of any other response.
    Binary(Bytes),
}

/// The request's bytes: `search` is JSON, every other action is binary.
pub fn request_bytes(action: &str, value: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(256 + action.len() + value.len());
    if action == "search" {
        let mut content = b"{\"action\": ".to_vec();
        write_json_string(&mut content, action);
        content.extend_from_slice(b", \"value\": ");
        write_json_string(&mut content, value);
        content.push(b'}');
        Composer::new(&mut out, "text/json", "utf-8", content.len()).finish(&content);
    } else {
        let content = [action.as_bytes(), value.as_bytes()].concat();
        Composer::new(&mut out, "binary/custom-client-binary-type", "binary", content.len()).finish(&content);
    }
    out.freeze()
}

/// Sends one request to a server of the tutorial's protocol and reads the response.
pub fn request(
    place: &ServerAddr,
    action: &str,
    value: &str,
    deadline: Deadline,
) -> Result<Response, ClientError> {
    let mut connection = Connection::open_plain(place, deadline)?;
    let written = connection.write(&request_bytes(action, value), deadline);
    // A server can refuse a long request before it has read it all.
    let frame = match (written, connection.read_frame(deadline)) {
        (_, Ok(frame)) => frame,
        (Err(fault), Err(_)) | (Ok(()), Err(fault)) => return Err(fault),
    };
    read(&frame).map_err(|why| match why {
        NotRead::Refused { code, detail } => ClientError::Refused { code, detail, retry_after: None },
        NotRead::Malformed(why) => connection.foreign(why),
    })
}

enum NotRead {
    Refused { code: String, detail: String },
    Malformed(String),
}

fn read(frame: &Frame) -> Result<Response, NotRead> {
    let text = |key| frame.header.text(key).map(std::borrow::Cow::into_owned).unwrap_or_default();
    if text("status") == "error" {
        return Err(NotRead::Refused { code: text("code"), detail: text("detail") });
    }
    if frame.header.content_type() != "text/json" {
        return Ok(Response::Binary(frame.content.clone()));
    }
    let malformed = |error: vang_proto::guide::ContentError| NotRead::Malformed(error.to_string());
    let content = text_content(frame).map_err(malformed)?;
    let result =
        Arguments::parse(&content).and_then(|arguments| arguments.printed("result")).map_err(malformed)?;
    Ok(Response::Result(result))
}

#[cfg(test)]
mod tests {
    use vang_proto::guide::{binary_response, json_response};

    use super::*;
    use crate::scripted::{Server, Step, soon};

    #[test]
    fn search_is_asked_in_json_and_its_result_is_text() {
        let answer = json_response("\u{1f43e} Playing ball! \u{1f3d0}");
        let server = Server::start(vec![vec![Step::Request, Step::Write(answer.to_vec())]]);
        let response = request(&server.place(), "search", "\u{1f436}", soon());
        assert_eq!(response, Ok(Response::Result("\u{1f43e} Playing ball! \u{1f3d0}".to_owned())));
        let asked = server.request();
        assert_eq!(asked.header.content_type(), "text/json");
        assert_eq!(asked.content, "{\"action\": \"search\", \"value\": \"\u{1f436}\"}");
    }

    #[test]
    fn any_other_action_is_bytes_and_so_is_its_answer() {
        let answer = binary_response(b"doublehello");
        let server = Server::start(vec![vec![Step::Request, Step::Write(answer.to_vec())]]);
        let response = request(&server.place(), "double", "hello", soon());
        let expected = Bytes::from_static(b"First 10 bytes of request: doublehell");
        assert_eq!(response, Ok(Response::Binary(expected)));
        let asked = server.request();
        assert_eq!(asked.header.content_type(), "binary/custom-client-binary-type");
        assert_eq!(asked.header.content_encoding(), "binary");
        assert_eq!(asked.content, "doublehello");
    }
}
