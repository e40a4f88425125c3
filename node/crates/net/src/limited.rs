//! Limits met: how often a client was refused or cut by a limit of HTTP or of WebSockets.

use metrics::counter;

/// A limit of what a client sends over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// More bytes of headers than may be, or more headers.
    Headers,
    HeaderTimeout,
    BodyBytes,
    BodyTimeout,
    ConnectionTimeout,
    WsFrameBytes,
}

impl Limit {
    /// Its key in the configuration (`http.headers`: one of the two for headers): the label of the metric.
    fn as_str(self) -> &'static str {
        match self {
            Limit::Headers => "http.headers",
            Limit::HeaderTimeout => "http.header_timeout_ms",
            Limit::BodyBytes => "http.body_bytes_max",
            Limit::BodyTimeout => "http.body_timeout_ms",
            Limit::ConnectionTimeout => "http.connection_timeout_ms",
            Limit::WsFrameBytes => "ws_frame_bytes_max",
        }
    }

    /// Counts that it was met.
    pub(crate) fn count(self) {
        counter!("weir_net_limited_total", "limit" => self.as_str()).increment(1);
    }
}
