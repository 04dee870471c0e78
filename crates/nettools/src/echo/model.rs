//! The models of concurrency of the echo server.

use std::fmt;

use serde::{Serialize, Serializer};

/// A model of concurrency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// One connection after the other; others wait in the accept queue.
    Sequential,
    /// A thread with blocking sockets for each connection.
    Threads,
    /// One thread with an event loop (epoll, with mio).
    Selector,
    /// One thread with a task for each connection (tokio).
    Async,
    /// Processes with a selector each, which share the port (SO_REUSEPORT).
    Processes,
}

impl Model {
    /// The simplest first.
    pub const ALL: [Model; 5] =
        [Model::Sequential, Model::Threads, Model::Selector, Model::Async, Model::Processes];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Model::Sequential => "sequential",
            Model::Threads => "threads",
            Model::Selector => "selector",
            Model::Async => "async",
            Model::Processes => "processes",
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Model {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
