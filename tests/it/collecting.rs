//! Collecting: the Segment and RudderStack protocols and CloudEvents, through their real doors.

use serde_json::json;

use crate::both;

both! {
    async fn an_event_is_stored_sealed_and_answered(gateway: TestGateway) {
        gateway.leaves_open(&[("helpdesk-us", 1), ("letterbox", 1)]);
        let key = gateway.key("shop-server").await;
        let email = format!("{}@example.org", gateway.canary("anna"));
        let body = json!({"type":"identify","userId":gateway.canary("user"),"messageId":"m-1","traits":{"email":email}});
        let (status, answer) = gateway.post(&key, "/v1/identify", &body).await;
        assert_eq!((status, answer["results"][0]["verdict"].as_str()), (200, Some("accepted")), "{answer}");
        let (_, again) = gateway.post(&key, "/v1/identify", &body).await;
        assert_eq!(again["results"][0]["verdict"], "duplicate", "{again}");
    }
}
