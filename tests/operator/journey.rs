//! The main job: from an applied object to a proved state.

use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn an_applied_object_becomes_ready_with_three_requests() {
    let world = World::new().await;
    world.apply("admin", &[("admin.example.com", true)]).await;
    let object = world.until_ready("admin").await;

    let methods: Vec<_> = world.ledger().all().iter().map(|exchange| exchange.method.clone()).collect();
    assert_eq!(methods, ["GET", "PUT", "GET"]);
    assert_eq!(world.ledger().puts(&world.scope())[0].settings(), [("admin.example.com".to_owned(), true, false)]);
    assert_eq!(object["status"]["summary"], "1/1");
    assert_eq!(object["status"]["hostnames"], json!([{
        "hostname": "admin.example.com",
        "state": "InSync",
        "remote": {"clientCertificateForwarding": true, "chinaNetwork": false},
    }]));
}
