//! What a server needs to know before it begins.

use std::path::PathBuf;

use vang_hub::{Scope, Trust};

use crate::limits::Limits;
use crate::net::listen::ListenAddr;
use crate::net::tls::TlsFiles;

/// What a server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Vec<ListenAddr>,
    /// The data folder.
    pub data: PathBuf,
    /// Connections that the kernel keeps waiting before they are accepted.
    pub backlog: u32,
    /// Limits.
    pub limits: Limits,
    /// The operator has looked at the clock.
    pub confirm_time: bool,
    /// Given certificate and key; otherwise the server makes its own.
    pub tls: Option<TlsFiles>,
    /// Names by which browsers reach this server, beside addresses and `localhost`.
    pub names: Vec<String>,
    /// From where guests are admitted.
    pub guests: Scope,
    /// Where an account's name alone is enough.
    pub trust: Trust,
    /// From where `/metrics` may be read.
    pub metrics: Scope,
    /// From where lines may be typed.
    pub lines: Scope,
    /// What the server calls itself, as `vang/0.1.0`.
    pub name: String,
}

impl Config {
    /// What is usual, without any listener.
    pub fn new(data: PathBuf, name: String) -> Config {
        Config {
            listen: Vec::new(),
            data,
            backlog: 4_096,
            limits: Limits::default(),
            confirm_time: false,
            tls: None,
            names: Vec::new(),
            guests: Scope::default(),
            trust: Trust::default(),
            metrics: Scope::default(),
            lines: Scope::default(),
            name,
        }
    }
}
