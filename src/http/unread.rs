//! What is left of a request's body when the answer is ready.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::{Bytes, Payload};

/// Keeps the rest of a body until the answer is out. A server that sees the rest of a chunked body
/// dropped reads it to its end, however slowly or endlessly it comes; one that sees it unread closes
/// the connection.
pub(super) fn hold(response: HttpResponse, rest: Payload) -> HttpResponse {
    response.map_body(|_, body| BoxBody::new(Held { body, _rest: rest }))
}

struct Held {
    body: BoxBody,
    _rest: Payload,
}

impl MessageBody for Held {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }
}
