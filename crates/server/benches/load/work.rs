//! What a server did, and what that cost it.

/// What a server did in a round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    /// Deliveries, answers or messages.
    pub(crate) done: f64,
    /// CPU time of the server, s.
    pub(crate) cpu: f64,
    pub(crate) seconds: f64,
}

impl Work {
    /// CPU time for each, s.
    pub(crate) fn cpu_each(&self) -> f64 {
        self.cpu / self.done
    }

    /// So many a second.
    pub(crate) fn rate(&self) -> f64 {
        self.done / self.seconds
    }
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Work) {
        self.done += other.done;
        self.cpu += other.cpu;
        self.seconds += other.seconds;
    }
}
