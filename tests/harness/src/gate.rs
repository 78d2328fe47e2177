//! Where the requests that a fault meets are counted and, when it holds them, wait.

use tokio::sync::watch;

/// One fault's counter and door.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) met: watch::Sender<u32>,
    pub(crate) open: watch::Sender<bool>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { met: watch::Sender::new(0), open: watch::Sender::new(false) }
    }

    /// Waits until the gate is opened.
    pub(crate) async fn pass(&self) {
        // An error means that the sender is gone, which `self` rules out.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}
