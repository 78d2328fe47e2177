//! People who do not stop editing while the operator's pods come and go.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::stage::Stage;

const OBJECTS: [&str; 4] = ["one", "two", "three", "four"];
/// Somebody else's entry, which somebody else keeps changing.
const THEIRS: &str = "theirs.example.com";

/// What was wanted last: hostnames and whether they forward.
type Wishes = BTreeMap<String, bool>;

pub(crate) struct Edits {
    stop: oneshot::Sender<()>,
    task: JoinHandle<(Wishes, usize)>,
}

fn hostname(object: &str) -> String {
    format!("{object}.example.com")
}

impl Edits {
    /// Makes the objects, waits until they are ready, and begins.
    pub(crate) async fn begin(stage: &Stage) -> Self {
        for name in OBJECTS {
            stage.apply(name, &[(&hostname(name), true)]).await;
        }
        for name in OBJECTS {
            stage.until_ready(name).await;
        }
        let (fixture, remote) = (stage.fixture.clone(), stage.remote.clone());
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let (mut wishes, mut count) = (Wishes::new(), 0);
            let mut turns = OBJECTS.iter().cycle();
            while stopped.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty) {
                let (name, wish) = (turns.next().unwrap(), fastrand::bool());
                let settings = json!([{"hostname": hostname(name), "clientCertificateForwarding": wish}]);
                fixture.patch(name, &json!({"spec": {"settings": settings}})).await.unwrap();
                remote.set(THEIRS, fastrand::bool(), true);
                wishes.insert(hostname(name), wish);
                count += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            remote.set(THEIRS, true, false);
            (wishes, count)
        });
        Self { stop, task }
    }

    /// Ends, and waits until the last wish for each object has come true; nobody else's entry is harmed.
    pub(crate) async fn end(self, stage: &Stage) {
        self.stop.send(()).unwrap();
        let (wishes, count) = self.task.await.unwrap();
        stage.assert_no_overlap("while people edited");
        for name in OBJECTS {
            stage.until_ready(name).await;
        }
        for (hostname, wish) in &wishes {
            let entry = stage.remote.get(hostname).is_some_and(|(forwarding, _)| forwarding);
            assert_eq!(entry, *wish, "{hostname} after {count} edits:\n{}", stage.ledger());
        }
        assert_eq!(stage.remote.get(THEIRS), Some((true, false)), "somebody else's entry:\n{}", stage.ledger());
        let named = stage.ledger().all().iter().any(|exchange| exchange.body.contains(THEIRS));
        assert!(!named, "a write has named somebody else's entry:\n{}", stage.ledger());
        println!("{count} edits, {} writes", stage.ledger().accepted_puts(stage.remote.scope()).len());
    }
}
