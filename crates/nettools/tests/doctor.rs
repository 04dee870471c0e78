//! The doctor with certificates that are not yet valid, expired, or expire soon. They are made for each test, so that none
//! expires one day.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on ends there

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use vang_nettools::doctor::{self, DoctorOptions};
use vang_nettools::{Report, Stop, Target, Verdict};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A server with such a certificate; it answers each connection with a line in TLS.
fn serving(names: &[&str], from: SystemTime, to: SystemTime) -> SocketAddr {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names).unwrap();
    (params.not_before, params.not_after) = (from.into(), to.into());
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            // Plain connections are answered too, as on a port for both.
            let _ = match tls.read(&mut [0; 1_000]) {
                Ok(_) => tls.write_all(b"220 mail\r\n"),
                Err(_) => tls.sock.write_all(b"220 mail\r\n"),
            };
        }
    });
    address
}

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The verdict, the record of the TLS step, and its meaning.
fn looked_at(address: SocketAddr) -> (Verdict, Value, Vec<String>) {
    let page = Page::default();
    let report = Report::new(page.clone(), io::sink(), true, false);
    let target: Target = address.to_string().parse().unwrap();
    let options = DoctorOptions { target, wait: Duration::from_secs(60) };
    let verdict = doctor::run(&options, &report, &Stop::after(None).unwrap()).unwrap();
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tls = records.iter().find(|o| o["step"] == "tls" && o["found"] != "unknown").unwrap().clone();
    let means =
        records.iter().filter(|o| o["event"] == "means").map(|o| o["text"].as_str().unwrap().to_owned());
    (verdict, tls, means.collect())
}

#[test]
fn an_expired_or_not_yet_valid_certificate_fails() {
    let now = SystemTime::now();
    for (from, to, said, left) in [
        (now + DAY, now + 5 * DAY / 2, "it is not valid yet", "expires in 2 days"),
        (now - 9 * DAY, now - 7 * DAY / 2, "expired 3 days ago", ", self-signed, expired"),
        (now - 9 * DAY, now - DAY / 2, "expired less than a day ago", ", self-signed, expired"),
    ] {
        let (verdict, tls, means) = looked_at(serving(&["127.0.0.1"], from, to));
        let text = tls["text"].as_str().unwrap();
        assert_eq!((verdict, &tls["found"]), (Verdict::Bad, &Value::from("bad")), "{text}");
        assert!(text.ends_with(said) && text.contains(left), "{text}");
        assert_eq!(means, ["renew it, and check the clocks of this machine and of the server"]);
    }
}

#[test]
fn a_certificate_that_expires_soon_gets_a_warning() {
    let now = SystemTime::now();
    const SOON: &str = "the certificate expires soon: renew it before clients refuse it";
    // One hour of tolerance for the test itself.
    for (days, left, warned) in [
        (0, "expires in less than a day", &[SOON][..]),
        (1, "expires in 1 day", &[SOON]),
        (13, "expires in 13 days", &[SOON]),
        (14, "expires in 14 days", &[]),
        (90, "expires in 90 days", &[]),
    ] {
        let to = now + days * DAY + Duration::from_secs(3_600);
        let (verdict, tls, means) = looked_at(serving(&["127.0.0.1"], now - DAY, to));
        let text = tls["text"].as_str().unwrap();
        assert_eq!((verdict, &tls["found"]), (Verdict::Good, &Value::from("good")), "{text}");
        assert!(text.ends_with(left), "{text}");
        assert_eq!(means, warned, "{text}");
    }
}

#[test]
fn a_certificate_for_another_host_is_named() {
    let now = SystemTime::now();
    let names: Vec<String> = (0..50).map(|n| format!("host-{n}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (verdict, tls, means) = looked_at(serving(&names, now - DAY, now + 90 * DAY));
    let text = tls["text"].as_str().unwrap();
    assert_eq!(verdict, Verdict::Good, "{text}");
    assert!(text.contains("certificate for host-0.example, host-1.example, "), "{text}");
    assert!(text.contains("host-7.example and 42 more, self-signed"), "{text}");
    assert!(means[0].starts_with("browsers will refuse it for '127.0.0.1'"), "{means:?}");
}
