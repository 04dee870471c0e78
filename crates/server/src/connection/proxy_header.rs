//! Connections of a listener's proxies: the PROXY protocol's header is read, and what is behind it left in the socket. What
//! does not name a client in the listener's kind is refused.

use std::future::poll_fn;
use std::io;

use vang_proto::kind::Kind;
use vang_proto::proxy::header::{LINE_BYTES_MAX, parse};
use vang_proto::proxy::{ClientAddress, ProxyHeader};
use vang_proto::vang::{Code, ErrorReply};

use crate::fairness::turns::yield_turn;
use crate::net::proxies::{Proxies, ProxyKind};
use crate::net::socket::Socket;

/// Bytes of extensions that are read at once, to be skipped.
const SKIPPED_BYTES: usize = 1 << 10;

/// What is in front of a connection.
pub(super) enum InFront {
    /// The connection is for this client. `None`: the proxy does not know its address.
    Client(Option<ClientAddress>),
    /// The connection is the proxy's own.
    Local,
    /// No header. What was read is in the socket again, so that the refusal is in the protocol that came.
    Other(ErrorReply),
}

/// Why this kind is refused behind these proxies: of others than HTTP no header can name a client, and of two PROXY
/// headers the second is a client's own.
pub(super) fn refuse_kind(proxies: &Proxies, kind: Kind) -> Option<ErrorReply> {
    let detail = match (proxies.kind, kind) {
        (ProxyKind::ProxyProtocol, Kind::Proxy) => {
            "a second PROXY header came behind the first; only the proxy in front can send one".to_owned()
        }
        (ProxyKind::ProxyProtocol, _) => return None,
        (proxy @ (ProxyKind::Forwarded | ProxyKind::XForwardedFor), _) => format!(
            "this address is for proxies that speak HTTP and send {} (option proxy={} of --listen); nothing else is \
             accepted here",
            proxy.sends(),
            proxy.word()
        ),
    };
    Some(no_client(detail))
}

fn no_client(detail: String) -> ErrorReply {
    ErrorReply::new(Code::Malformed, detail).with("part", "protocol")
}

fn no_header(why: &str) -> InFront {
    InFront::Other(no_client(format!(
        "this address is for proxies that send the PROXY protocol (option proxy=proxy of --listen): {why}"
    )))
}

/// Reads the header. An error: the peer is gone, or closed without a byte.
pub(super) async fn read_proxy_header(socket: &mut Socket) -> io::Result<InFront> {
    let mut bytes = [0; LINE_BYTES_MAX];
    let mut len = 0;
    loop {
        match parse(&bytes[..len]) {
            Ok(None) => {}
            Ok(Some((header, end))) => {
                match end.checked_sub(len) {
                    Some(behind) => skip(socket, behind).await?,
                    None => socket.put_back(&bytes[end..len]),
                }
                return Ok(match header {
                    ProxyHeader::Client(client) => InFront::Client(client.map(ClientAddress::from)),
                    ProxyHeader::Local => InFront::Local,
                });
            }
            Err(error) => {
                socket.put_back(&bytes[..len]);
                return Ok(no_header(&error.to_string()));
            }
        }
        match read(socket, &mut bytes[len..]).await? {
            0 if len == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => {
                socket.put_back(&bytes[..len]);
                return Ok(no_header(&format!("the stream ended inside a PROXY header, after {len} bytes")));
            }
            n => len += n,
        }
    }
}

async fn skip(socket: &mut Socket, mut left: usize) -> io::Result<()> {
    let mut skipped = [0; SKIPPED_BYTES];
    while left > 0 {
        let most = left.min(SKIPPED_BYTES);
        match read(socket, &mut skipped[..most]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => left -= n,
        }
    }
    Ok(())
}

/// Waits for bytes. A peer can send them one by one: other connections have their turn between them.
async fn read(socket: &mut Socket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|cx| socket.poll_read_ready(cx)).await?;
                yield_turn().await;
            }
            read => return read,
        }
    }
}
