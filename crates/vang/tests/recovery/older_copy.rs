//! The server comes back with an older copy of its data folder, or with another folder: followers notice, go on
//! automatically, and miss nothing that is there now.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::common::{
    Follower, Heard, Raw, Received, assert_one_history, check, copy_folder, history, lasting_address, shown,
    shown_until, tail,
};
use crate::harness::{Server, Tail, folder};

/// A server that comes back at the same address, and its followers.
struct Scene {
    folder: TempDir,
    address: String,
    server: Option<Server>,
    tail: Option<Tail>,
    follower: Option<Follower>,
}

impl Scene {
    fn new() -> Scene {
        let mut scene =
            Scene { folder: folder(), address: lasting_address(), server: None, tail: None, follower: None };
        scene.start();
        scene
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn copy(&self) -> PathBuf {
        self.folder.path().join("copy")
    }

    fn start(&mut self) {
        self.server = Some(Server::start_with(&self.data(), &self.address, &[]));
    }

    /// Posts this to a server at another address, which the followers do not find.
    fn say_elsewhere(&self, texts: &[&str]) {
        let server = Server::start(&self.data());
        say(&server.addr, texts);
        assert!(server.stop().success());
    }

    fn server(&mut self) -> &mut Server {
        self.server.as_mut().unwrap()
    }

    fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    fn stop(&mut self) {
        assert!(self.server.take().unwrap().stop().success());
    }

    fn say(&self, texts: &[&str]) {
        say(&self.address, texts);
    }

    fn follow(&mut self) {
        let since_first = tail(self.server(), Some(0));
        self.tail = Some(since_first);
        self.follower = Some(Follower::start(&self.address));
    }

    fn tail(&mut self) -> &mut Tail {
        self.tail.as_mut().unwrap()
    }

    /// Both followers receive exactly these messages.
    fn both_hear(&mut self, texts: &[&str]) -> Vec<Received> {
        let last = texts.last().unwrap();
        let by_hand = self.follower.as_mut().unwrap().until(last);
        assert_eq!(words(&by_hand), texts);
        assert_eq!(shown_until(self.tail(), last), by_hand);
        by_hand
    }

    /// Replaces the folder by the copy.
    fn put_back(&self) {
        std::fs::remove_dir_all(self.data()).unwrap();
        copy_folder(&self.copy(), &self.data());
    }

    /// The older copy ends at `common`: both followers notice, and go on from there.
    fn both_are_set_back(&mut self, common: u64) {
        let refused = self.follower.as_mut().unwrap().refused();
        assert_eq!((refused["code"].as_str(), refused["seq"].as_u64()), (Some("seq-ahead"), Some(common)));
        assert!(!refused["epoch"].as_str().unwrap().is_empty());
        self.tail().said(&format!("went back to position {common}"));
    }
}

fn say(address: &str, texts: &[&str]) {
    let mut raw = Raw::connect(address);
    for text in texts {
        assert_eq!(raw.send("ada", text, text)["status"], "ok");
    }
}

fn words(received: &[Received]) -> Vec<&str> {
    received.iter().map(|received| &*received.text).collect()
}

#[test]
fn followers_resume_an_older_copy_at_the_common_point() {
    let mut scene = Scene::new();
    scene.say(&["one", "two"]);
    scene.stop();
    copy_folder(&scene.data(), &scene.copy());
    scene.start();
    scene.follow();
    scene.say(&["lost three", "lost four", "lost five"]);
    let heard = scene.both_hear(&["one", "two", "lost three", "lost four", "lost five"]);
    scene.kill();
    scene.put_back();
    scene.start();
    // Everything in the copy: the opening, the room, two messages.
    scene.both_are_set_back(heard[1].seq);
    scene.say(&["new three", "new four"]);
    let again = scene.both_hear(&["new three", "new four"]);
    assert_eq!(history(&scene.address), [&heard[..2], &again].concat());
    check(&scene.data());
}

#[test]
fn a_restart_after_copying_does_not_hide_a_loss() {
    let mut scene = Scene::new();
    scene.say(&["one"]);
    scene.follow();
    scene.both_hear(&["one"]);
    scene.stop();
    copy_folder(&scene.data(), &scene.copy());
    scene.start();
    scene.say(&["lost two"]);
    scene.both_hear(&["lost two"]);
    scene.kill();
    scene.start();
    scene.say(&["lost three"]);
    let lost = scene.both_hear(&["lost three"]);
    scene.stop();
    scene.put_back();
    // It is written past what the followers saw, before they are back: only the epoch tells.
    let new: Vec<String> = (2..10).map(|n| format!("new {n}")).collect();
    let new: Vec<&str> = new.iter().map(String::as_str).collect();
    scene.say_elsewhere(&new);
    scene.start();
    let common = history(&scene.address)[0].seq;
    assert!(history(&scene.address).last().unwrap().seq > lost[0].seq);
    scene.both_are_set_back(common);
    scene.both_hear(&new);
    assert_one_history(&history(&scene.address));
    check(&scene.data());
}

#[test]
fn a_follower_beyond_the_older_copy_gets_its_new_messages() {
    let mut scene = Scene::new();
    scene.say(&["one"]);
    scene.stop();
    copy_folder(&scene.data(), &scene.copy());
    scene.start();
    scene.say(&["lost two", "lost three", "lost four"]);
    let mut late = tail(scene.server(), Some(3));
    assert_eq!(shown(&mut late).text, "lost four");
    scene.kill();
    scene.put_back();
    scene.start();
    late.said("went back to position");
    scene.say(&["new two", "new three"]);
    assert_eq!(words(&shown_until(&mut late, "new three")), ["new two", "new three"]);
}

#[test]
fn another_journal_is_followed_by_room_numbers() {
    let mut scene = Scene::new();
    scene.follow();
    scene.say(&["one", "two"]);
    scene.both_hear(&["one", "two"]);
    scene.kill();
    std::fs::remove_dir_all(scene.data()).unwrap();
    // They get the messages after the last number that they have seen.
    scene.say_elsewhere(&["other one", "other two", "other three"]);
    scene.start();
    let follower = scene.follower.as_mut().unwrap();
    assert_eq!(follower.refused()["code"], "journal-changed");
    while !matches!(follower.next(), Heard::Follows) {}
    scene.tail().said("the server has another journal now");
    scene.say(&["other four"]);
    scene.both_hear(&["other three", "other four"]);
    // The same after that one is lost too.
    scene.kill();
    scene.start();
    scene.say(&["other five"]);
    scene.both_hear(&["other five"]);
}

#[test]
fn a_view_ahead_of_the_journal_is_rebuilt() {
    let mut scene = Scene::new();
    scene.say(&["one", "two"]);
    scene.stop();
    copy_folder(&scene.data(), &scene.copy());
    scene.start();
    scene.say(&["lost three", "lost four"]);
    scene.stop();
    std::fs::copy(scene.copy().join("journal.db"), scene.data().join("journal.db")).unwrap();
    scene.start();
    assert!(
        scene
            .server()
            .log()
            .contains("rebuilding the view from the journal reason=it belonged to another history")
    );
    assert_eq!(words(&history(&scene.address)), ["one", "two"]);
    scene.say(&["new three"]);
    assert_eq!(words(&history(&scene.address)), ["one", "two", "new three"]);
    check(&scene.data());
}

#[test]
fn a_view_of_a_diverged_copy_is_noticed_and_rebuilt() {
    let mut scene = Scene::new();
    scene.say(&["one", "two"]);
    scene.stop();
    copy_folder(&scene.data(), &scene.copy());
    // Both go on: the copy so that its view has another third message, the folder farther than that.
    let elsewhere = Server::start(&scene.copy());
    say(&elsewhere.addr, &["other three"]);
    assert!(elsewhere.stop().success());
    scene.start();
    scene.say(&["three", "four", "five", "six"]);
    scene.stop();
    std::fs::copy(scene.copy().join("view.db"), scene.data().join("view.db")).unwrap();
    let data = scene.data();
    let args = ["admin", "check", "--data", data.to_str().unwrap()];
    let output = crate::harness::vang().args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("view: it belongs to another history of this journal, up to entry "), "{said}");
    scene.start();
    let log = scene.server().log();
    assert!(
        log.contains("rebuilding the view from the journal reason=it belonged to another history"),
        "{log}"
    );
    assert_eq!(words(&history(&scene.address)), ["one", "two", "three", "four", "five", "six"]);
    check(&scene.data());
}
