//! What people prove themselves with, at the edge: the hub and the journal see verifiers only, and those sealed.
//!
//! ```text
//! hub ──CheckJob──▶ guesses: whose check is hashed when ──▶ pool: threads that hash ──outcome──▶ hub
//!                                                             │
//!                              journal.db ──payload──▶ seal ──▶ password
//! ```
//!
//! Whoever drives them keeps each job under its id while it waits, and does this:
//!
//! ```text
//! a job comes          guesses.ask      Refused: answered busy, its job dropped
//! after each call,     guesses.next     Run: its job to the pool.  Refuse: answered busy
//! and at WaitUntil                      WaitUntil, Idle: nothing more now
//! the pool answers     guesses.finished, then the hub
//! a session ends       guesses.gone for each job of it
//! ```
//!
//! The thread that decides never waits for a hash. Tokens are not here: one hash of BLAKE3 checks them on the spot, so they
//! never wait behind passwords. `vang_proto::Secret` is what holds a password on its way.

pub(crate) mod password; // Argon2id: makes and checks verifiers; which new passwords are allowed
pub(crate) mod seal; // verifiers as payloads of the journal, sealed for their account
pub(crate) mod guesses; // which password is checked when: a pure machine against guessing
pub(crate) mod hashed; // what they answer
pub(crate) mod pool; // the threads that hash
pub(crate) mod desk; // takes jobs of the hub, and runs each when its turn comes
