//! A server on a thread of the test: for tests of what a server answers, not of its flags, signals and log.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use vang_server::{Config, SETTINGS, Server, Stopper};

use super::PATIENCE;

/// A server that runs here.
pub struct InProcess {
    stopper: Stopper,
    thread: Option<JoinHandle<bool>>,
}

impl InProcess {
    /// Starts a server with the flags of `vang serve`; answers its first address.
    pub fn start(data: &Path, listen: &str, flags: &[&str]) -> (InProcess, String) {
        let config = configuration(data, listen, flags);
        let (ready, is_ready) = channel();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server::open(config).unwrap_or_else(|error| panic!("{error}"));
                let (addr, stopper) = (server.addresses()[0].clone(), server.stopper());
                server.run(|| ready.send((addr, stopper)).unwrap()).await.is_ok()
            })
        };
        let thread = std::thread::spawn(serve);
        match is_ready.recv_timeout(PATIENCE) {
            Ok((addr, stopper)) => (InProcess { stopper, thread: Some(thread) }, addr),
            Err(_) => panic!("the server did not begin to listen: {:?}", thread.join()),
        }
    }

    /// Stops it, and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        self.stopper.stop();
        let ended_well = self.thread.take().is_some_and(|thread| thread.join().unwrap_or(false));
        ExitStatus::from_raw(i32::from(!ended_well) << 8)
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

fn configuration(data: &Path, listen: &str, flags: &[&str]) -> Config {
    let mut config = Config::new("vang/test".to_owned());
    config.data = data.to_owned();
    config.set("listen", &[listen.to_owned()]).unwrap();
    let mut lists: Vec<(&str, Vec<String>)> = vec![("listen", vec![listen.to_owned()])];
    for pair in flags.chunks(2) {
        let [flag, value] = pair else { panic!("a flag without a value: {flags:?}") };
        let name = flag.strip_prefix("--").unwrap();
        if name == "limit" {
            config.limits.set(value).unwrap();
            continue;
        }
        let info = SETTINGS.iter().find(|info| info.name == name).unwrap();
        let values = match (info.is_list, lists.iter_mut().position(|(known, _)| *known == name)) {
            (true, Some(at)) => {
                lists[at].1.push((*value).to_owned());
                lists[at].1.clone()
            }
            (true, None) => {
                lists.push((name, vec![(*value).to_owned()]));
                vec![(*value).to_owned()]
            }
            (false, _) => vec![(*value).to_owned()],
        };
        config.set(name, &values).unwrap();
    }
    config
}
