//! An object as it is stored differs in nothing from its manifest, whoever asks and whatever the operator has done with it.

use harness::fixture::Settings;
use serde_json::{Value, json};

use crate::world::World;

/// As Argo CD applies and compares with `ServerSideApply=true` and `ServerSideDiff=true`, and as kubectl does by itself.
const AUTHORS: [&[&str]; 2] = [&["--server-side", "--field-manager=argocd-controller"], &[]];

/// An object with every optional field, in words that the operator would have put in another way.
fn whole(settings: Settings) -> Value {
    settings
        .entry(json!({"hostname": "z.example.com", "clientCertificateForwarding": true, "chinaNetwork": false}))
        .hostname("a.example.com", false)
        .with("syncMode", json!("Enforce"))
        .with("interval", json!("90m"))
        .with("suspend", json!(false))
        .build()
}

#[tokio::test]
async fn a_stored_object_shows_no_diff_before_or_after_the_operator_served_it_nor_with_a_finalizer() {
    for author in AUTHORS {
        let mut world = World::new().await;
        world.stop().await;
        let minimal = world.fixture.settings("minimal").hostname("minimal.example.com", true);
        let resetting = world.fixture.settings("resetting").with("deletionPolicy", json!("Reset"));
        let manifests = [
            minimal.build(),
            whole(world.fixture.settings("whole")),
            resetting.hostname("resetting.example.com", true).build(),
        ];
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("objects.json");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
        std::fs::write(&file, list.to_string()).unwrap();
        let file = file.to_str().unwrap();
        world.kubectl(&[&["apply", "-f", file], author].concat()).await.unwrap();
        let command = [&["diff", "-f", file], author].concat();
        assert_eq!(world.kubectl(&command).await.unwrap(), "");

        world.restart().await;
        for name in ["minimal", "whole", "resetting"] {
            world.until_ready(name).await;
        }
        let object = world.fixture.get("resetting").await.unwrap().unwrap();
        assert_eq!(object["metadata"]["finalizers"], json!(["cloudflare-mtls.dev/reset"]));
        assert_eq!(world.kubectl(&command).await.unwrap(), "");
        // Applied once more, nothing is stored anew.
        let former = object["metadata"]["resourceVersion"].clone();
        world.kubectl(&[&["apply", "-f", file], author].concat()).await.unwrap();
        let object = world.fixture.get("resetting").await.unwrap().unwrap();
        assert_eq!(object["metadata"]["resourceVersion"], former);
        // And what does differ is seen.
        std::fs::write(file, list.to_string().replace("90m", "91m")).unwrap();
        let error = world.kubectl(&command).await.unwrap_err().to_string();
        assert!(error.contains("interval: 90m") && error.contains("interval: 91m"), "{error}");
    }
}
