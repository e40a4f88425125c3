//! RawSocket: WAMP messages on a bare stream (WAMP, "RawSocket Transport"). Handshake and frames, no IO.

mod frame;
mod handshake;

pub use frame::{FRAME_HEADER_BYTES, Frame, FrameError, FrameType, append, append_message, read_frame};
pub use handshake::{
    HANDSHAKE_BYTES, Handshake, HandshakeError, LengthClass, Refusal, read_reply, read_request,
};
