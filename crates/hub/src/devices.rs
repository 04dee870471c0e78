//! Devices on which accounts signed in: who tries a password on one of them is no stranger, wherever the device is. A device shows
//! its token, also one that has ended.

use std::collections::{HashSet, VecDeque};

use vang_chat::{AccountId, TokenKey};

/// Devices that are remembered after their token has ended, since this process began: the newest. Each takes about 100 bytes.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Devices {
    known: HashSet<(AccountId, TokenKey)>,
    by_age: VecDeque<(AccountId, TokenKey)>,
}

impl Devices {
    /// The account signed in with this token.
    pub(crate) fn remember(&mut self, account: AccountId, key: TokenKey) {
        if !self.known.insert((account, key)) {
            return;
        }
        self.by_age.push_back((account, key));
        if self.by_age.len() > REMEMBERED_MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(crate) fn contains(&self, account: AccountId, key: TokenKey) -> bool {
        self.known.contains(&(account, key))
    }
}
