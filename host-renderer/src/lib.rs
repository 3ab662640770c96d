//! The host's side of vw: a broker that accepts guests, and a session process for each that replays what the guest's
//! driver sends on the host's GPU.
//!
//! * [`broker`] accepts, starts session processes and watches them. It never opens a driver.
//! * [`control`] is what `vwctl` asks the broker.
//! * [`frames`] is what guests present, for those on the host who look.
//! * [`session`] is what runs in such a process: the loop over the command ring, decoding and validation.
//! * [`object`] has what single kinds of objects need beyond a call, in files that mirror the guest's.
//! * [`gpu`] is the host's Vulkan: choice of a device, facts for the guest, how it gets the memory that guests see.
//! * [`window`] carries that memory where guest, host and device do not all have the same pages.
//! * [`null`] stands in for a driver where there is none.
//!
//! Trust ends at the ring: [`vw_wire_protocol::codec`] makes well-formed memory of whatever came in, with handles that
//! [`session::tables`] vouched for; `session::dispatch` checks what else would be undefined behaviour of the driver's and
//! can be checked cheaply. What is left (values in structures that break Vulkan's rules of valid usage) can at worst
//! crash this one session's process.

pub mod broker;
pub mod config;
pub mod control;
pub mod frames;
pub mod gpu;
pub mod null;
pub mod object;
pub mod perf;
pub mod session;
pub mod window;
