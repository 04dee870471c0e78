//! Connections that have said who they are and then say nothing: what each costs the server in
//! resident memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use vang_proto::vang::Action;

use crate::Plan;
use crate::clients::Clients;
use crate::common::process::Running;
use crate::common::requests::{follow_general, request};
use crate::frames::Wire;

const CONNECTIONS: usize = 10_000;

pub(crate) fn run(_plan: &Plan) {
    println!("idle: {CONNECTIONS} connections, server RSS for each");
    let hello = |index: usize| request(&Action::Hello, Some(format!("guest{index}")));
    let follow = |index: usize| request(&follow_general(), Some(format!("guest{index}")));
    measure("native, after hello", hello);
    measure("native, following #general", follow);
    over_tls(hello);
}

/// The same after a handshake, with rustls on both sides.
fn over_tls(first: impl Fn(usize) -> Vec<u8>) {
    let server = Running::vang();
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(server.data.join("tls/certificate.pem"));
    roots.add(certificate.expect("the server's certificate")).expect("a certificate");
    let config = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    let mut kept = Vec::new();
    let mut before = 0;
    for index in 0..100 + CONNECTIONS {
        if index == 100 {
            before = server.rss();
        }
        let mut stream = TcpStream::connect(&server.addr).expect("a server that listens");
        let name = "localhost".try_into().expect("a name");
        let mut tls = ClientConnection::new(config.clone(), name).expect("TLS");
        let mut talk = rustls::Stream::new(&mut tls, &mut stream);
        talk.write_all(&first(index)).expect("a server that reads");
        let mut reply = [0; 1_024];
        assert!(talk.read(&mut reply).expect("a reply") > 0);
        kept.push((stream, tls));
    }
    let grown = server.rss().saturating_sub(before) as f64;
    println!("  TLS, after hello: {:.2} KiB each", grown / CONNECTIONS as f64 / 1_024.0);
}

fn measure(what: &str, first: impl Fn(usize) -> Vec<u8>) {
    let server = Running::vang();
    let mut clients = Clients::default();
    // What the first connections make the server allocate once is not theirs.
    for _ in 0..100 {
        clients.connect(&server.addr, Wire::Vang);
    }
    clients.ask_all(0..100, &first);
    let before = server.rss();
    for _ in 0..CONNECTIONS {
        clients.connect(&server.addr, Wire::Vang);
    }
    clients.ask_all(100..100 + CONNECTIONS, &first);
    let grown = server.rss().saturating_sub(before) as f64;
    println!("  {what}: {:.2} KiB each", grown / CONNECTIONS as f64 / 1_024.0);
}
