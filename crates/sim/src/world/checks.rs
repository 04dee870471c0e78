//! What must be true of a world when everything has healed.

use std::collections::BTreeMap;

use vang_chat::{AccountId, Seq, State};
use vang_hub::{Book, replay};
use vang_journal::Reader;

use super::World;
use crate::following::Following;
use crate::view::Rows;

impl World {
    /// Checks the promises P1 to P4 and P10. (P5 and P9 are checked all the time.)
    pub fn assert_one_history(&mut self) {
        self.follow_journal();
        for client in &self.clients {
            client.check_answers(&self.scene);
            if client.check(&self.scene, true) > 0 {
                self.scene.env.count("a value was replaced before it was received");
            }
        }
        for device in &self.devices {
            if device.check(&self.scene) > 0 {
                self.scene.env.count("a value was replaced before it was received");
            }
        }
        self.assert_devices_agree();
        self.assert_credentials();
        let hub = self.process.as_ref().expect("it runs").hub();
        let mut reader = self.disk.reader();
        assert_eq!(hub.state().seq(), self.disk.end(), "the hub is at the journal's end");
        let beginning = (State::default(), Book::default());
        let mut replayed_rows = Rows::default();
        let replayed = replay(&mut reader, &self.disk.identity(), beginning, Seq(0), &mut |delta| {
            replayed_rows.apply(&delta);
            Ok(())
        });
        let replayed = replayed.expect("the journal can be replayed");
        assert_eq!(
            replayed.state.hash(),
            hub.state().hash(),
            "a replay gives another state than the running one"
        );
        let snapshot = State::from_snapshot(&hub.state().to_snapshot()).expect("a snapshot can be read");
        assert_eq!(snapshot.hash(), hub.state().hash(), "a snapshot gives another state");
        let mut folded = Rows::default();
        folded.apply(&self.scene.model.delta());
        assert_eq!(self.view.rows(), &folded, "the view differs from the journal's outcomes");
        assert_eq!(replayed_rows, folded, "a replay gives another view");
        assert_eq!(self.disk.identity().id_hex(), hub.identity().id_hex());
    }

    /// The rules hold what the model says of roles and passwords, and verifiers that were replaced are erased.
    fn assert_credentials(&self) {
        let (model, state) = (&self.scene.model, self.process.as_ref().expect("it runs").hub().state());
        for (account, role) in model.roles() {
            assert_eq!(state.role(AccountId(account)), role, "the role of {account}");
        }
        for account in model.accounts() {
            let there = state.tokens_of(AccountId(account)).map(|token| token.id.0);
            let tokens: Vec<u64> = model.tokens_of(account, model.seq().0).map(|token| token.id).collect();
            assert_eq!(there.collect::<Vec<_>>(), tokens, "the tokens of {account}");
            let has_password = model.password_at(account, model.seq().0).is_some();
            assert_eq!(
                state.password(AccountId(account)).is_some(),
                has_password,
                "the password of {account}"
            );
        }
        let replaced: Vec<Seq> = model.replaced().iter().map(|&seq| Seq(seq)).collect();
        for entry in self.disk.reader().get(&replaced, usize::MAX).expect("memory does not fail") {
            let entry = entry.expect("memory does not damage");
            assert_eq!(entry.payload, None, "the replaced verifier of {} is not erased", entry.seq);
        }
    }

    /// Two devices of an account have the same newest value of each key, from where both began.
    fn assert_devices_agree(&mut self) {
        let clients =
            self.clients.iter().map(|client| (client.account(&self.scene), client.following.as_ref()));
        // An account may be left without a password: then its devices are not signed in.
        let devices = self.devices.iter().filter(|device| device.is_signed_in());
        let devices = devices.map(|device| (device.account(&self.scene), device.following.as_ref()));
        let mut by_account: BTreeMap<u64, Vec<&Following>> = BTreeMap::new();
        for (account, following) in clients.chain(devices) {
            if let (Some(account), Some(following)) = (account, following)
                && following.account_feed_start().is_some()
            {
                by_account.entry(account).or_default().push(following);
            }
        }
        let mut compared = 0;
        for (account, followings) in by_account {
            let starts = followings.iter().filter_map(|following| following.account_feed_start());
            let after = starts.max().unwrap_or_default();
            let heard: Vec<_> = followings
                .iter()
                .map(|following| following.newest_values(&self.scene, account, after))
                .collect();
            assert!(heard.windows(2).all(|pair| pair[0] == pair[1]), "the devices of {account}: {heard:?}");
            compared += u64::from(heard.len() > 1 && heard.iter().all(|values| !values.is_empty()));
        }
        for _ in 0..compared {
            self.scene.env.count("two devices of an account compared");
        }
    }
}
