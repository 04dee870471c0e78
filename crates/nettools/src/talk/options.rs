//! What the client does, as the user chose.

use std::net::SocketAddr;
use std::time::Duration;

use vang_proto::proxy::ProxyVersion;

use super::endpoint::Endpoint;
use crate::Trust;

/// How long a client without a half-close waits for answers after the end of its input: nothing tells it that the last one
/// has come.
const USUAL_IDLE: Duration = Duration::from_secs(1);

/// Options of the client.
#[derive(Clone, Debug)]
pub struct TalkOptions {
    pub to: Endpoint,
    pub udp: bool,
    /// TLS with this verification.
    pub tls: Option<Trust>,
    pub form: Form,
    /// A typed line ends with CR LF.
    pub crlf: bool,
    /// `None`: half-close; with UDP and WebSocket, which have none, wait until nothing has come for 1 s.
    pub then: Option<Then>,
    /// End when nothing has come for this time, after the end of the input.
    pub idle: Option<Duration>,
    pub proxy: Option<ProxyHeader>,
    pub vanished: VanishedPeer,
    /// Note the time of each answer.
    pub times: bool,
    /// No notes.
    pub quiet: bool,
}

/// How the kernel notices a TCP peer that has vanished without closing.
#[derive(Clone, Copy, Debug, Default)]
pub struct VanishedPeer {
    /// Probe a silent peer after this time, and again after each such time; whole seconds. `None`: never.
    pub keepalive: Option<Duration>,
    /// Give up when sent bytes or probes are not acknowledged for this time. `None`: when the kernel has sent them some 15
    /// times, after about 15 minutes.
    pub user_timeout: Option<Duration>,
}

/// What is sent and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Bytes as they are.
    Text,
    Hex,
    /// Messages of `docs/PROTOCOL.md`: a typed line is the content of one.
    Frames,
}

/// What the client does when its input has ended and everything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Close both halves, without waiting for an answer.
    Close,
    /// Close the sending half, then receive until the peer closes.
    HalfClose,
    /// Receive until the peer closes.
    Wait,
}

/// A PROXY protocol header in front of everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    pub version: ProxyVersion,
    /// The client for which a proxy would connect. `None`: our own address.
    pub from: Option<SocketAddr>,
}

impl TalkOptions {
    /// How TLS verifies the server, if there is TLS.
    pub(super) fn trust(&self) -> Option<Trust> {
        let is_wss = self.to.web.as_ref().is_some_and(|web| web.tls);
        self.tls.clone().or(is_wss.then(Trust::default))
    }

    /// After the close frame of a WebSocket its server sends no answers (RFC 6455, 5.5.1).
    pub(super) fn lacks_half_close(&self) -> bool {
        self.udp || self.to.web.is_some()
    }

    pub(super) fn then(&self) -> Then {
        self.then.unwrap_or(if self.lacks_half_close() { Then::Wait } else { Then::HalfClose })
    }

    pub(super) fn idle(&self) -> Option<Duration> {
        let is_usual = self.then.is_none() && self.lacks_half_close();
        self.idle.or(is_usual.then_some(USUAL_IDLE))
    }
}
