//! The generated messages, services and clients of `weir.admin.v1`, as documented in proto/weir/admin/v1.

tonic::include_proto!("weir.admin.v1");

/// What reflection tells of these services.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
