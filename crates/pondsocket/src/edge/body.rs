use std::convert::Infallible;
use std::pin::Pin;
#[cfg(feature = "server")]
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Full;

use crate::edge::events::EventBody;
#[cfg(feature = "server")]
use crate::engine::stream::Stream;

/// The body of our HTTP answers: nothing, the reason of a refusal, or an event stream.
#[derive(Debug, Default)]
pub struct Body(Content);

#[derive(Debug)]
enum Content {
    Whole(Full<Bytes>),
    Events(EventBody),
}

impl Default for Content {
    fn default() -> Content {
        Content::Whole(Full::default())
    }
}

impl Body {
    pub(crate) fn whole(content: impl Into<Bytes>) -> Body {
        Body(Content::Whole(Full::new(content.into())))
    }

    pub(crate) fn events(events: EventBody) -> Body {
        Body(Content::Events(events))
    }

    /// The event stream that it is, if it is one.
    #[cfg(feature = "server")]
    pub(crate) fn stream(&self) -> Option<&Arc<Stream>> {
        match &self.0 {
            Content::Whole(_) => None,
            Content::Events(events) => Some(events.stream()),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Content::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Content::Events(events) => Pin::new(events).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Whole(whole) => whole.is_end_stream(),
            Content::Events(events) => events.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(whole) => whole.size_hint(),
            Content::Events(events) => events.size_hint(),
        }
    }
}
