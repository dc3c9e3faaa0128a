//! Who may call what: every route of the table, every kind of caller, one snapshot.

use amanat::domain::id::RecipientId;
use amanat::gateway::tokens::Scope;
use amanat::http::routes::TABLE;

use crate::both;
use crate::harness::TestGateway;
use crate::harness::wire::Sent;

both! {
    async fn every_route_admits_whom_the_table_says(gateway: TestGateway) {
        let mut callers = vec![("nobody".to_owned(), None), ("wrong token".to_owned(), Some("amanat_at_wrong".to_owned()))];
        for scope in Scope::ALL {
            callers.push((scope.as_str().to_owned(), Some(token(&gateway, scope).await)));
        }
        let (revoked, text) = gateway.house.add_token("revoked", &Scope::ALL, Some(&RecipientId::new("letterbox")), None).await.expect("token");
        assert!(gateway.house.disable_token(revoked).await.expect("revoked"));
        callers.push(("revoked".to_owned(), Some(text.to_string())));
        callers.push(("server key".to_owned(), Some(gateway.key("shop-server").await)));
        callers.push(("public key".to_owned(), Some(gateway.key("shop-web").await)));

        let mut table = String::new();
        for (name, _) in &callers {
            table.push_str(&format!("{name:>12}"));
        }
        table.push('\n');
        for route in TABLE {
            for (_, token) in &callers {
                let mut request = Sent { method: route.method.to_uppercase(), target: filled(route.path), ..Sent::default() };
                if request.method == "POST" {
                    request = request.header("content-type", "application/json");
                    request.body = b"{}".to_vec();
                }
                if let Some(token) = token {
                    request = request.header("authorization", format!("Bearer {token}"));
                }
                let answer = request.to(&gateway.url).await;
                assert!(answer.status < 500, "{} {}: {}", route.method, route.path, answer.text());
                let cell = match (answer.status, answer.code().as_str()) {
                    (401, "unauthenticated") => "401",
                    (403, "forbidden_scope") => "403",
                    _ => "in",
                };
                table.push_str(&format!("{cell:>12}"));
            }
            table.push_str(&format!("  {} {}\n", route.method.to_uppercase(), route.path));
        }
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!("permissions", table);
        });
    }
}

async fn token(gateway: &TestGateway, scope: Scope) -> String {
    // Some scopes speak for a recipient and need one.
    let recipient = RecipientId::new("letterbox");
    let recipient = matches!(scope, Scope::Disclosures | Scope::Tasks).then_some(&recipient);
    let (_, text) = gateway.house.add_token(scope.as_str(), &[scope], recipient, None).await.expect("token");
    text.to_string()
}

/// A path with something in the place of each name.
fn filled(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .map(|part| if part.starts_with('{') { "00000000-0000-4000-8000-000000000000" } else { part })
        .collect();
    parts.join("/")
}
