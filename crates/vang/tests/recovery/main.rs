//! Crashes, full disks, damage, backups: what an operator fears. A test's name is the rule. Tests wait for events,
//! never for a fixed time, and assert only times that are promised.
//!
//! `VANG_KILLS` sets how often `kill.rs` kills (default 10), `VANG_SEED` when.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on ends there

#[path = "../harness/mod.rs"]
mod harness;

mod common; // what the others share: clients that speak the protocol by hand
mod kill; // kill -9, again and again
mod stop; // SIGTERM, and how soon it is back
mod stalled; // who connects and says nothing, who follows and does not read
mod disk; // no room left
mod older_copy; // an older copy put back under those who follow
mod backup; // vang admin backup and restore: under load, cut, killed, without room
mod damage; // files that are not as they were left
mod files; // files that are moved, removed or replaced while a server runs
