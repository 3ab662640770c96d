//! The wire format of vw, for both directions.
//!
//! * [`schema`] is the vocabulary of the tables, [`generated`] the tables themselves, made from the Vulkan
//!   registry and never edited.
//! * [`codec`] follows the tables. It is the one place where structure is validated: what it hands on is
//!   well-formed memory with live handles, whatever bytes came in. The layers above rely on that and do not
//!   check it again.
//! * [`rules`] says which of an application's pointers may be read.
//! * [`descriptor_update`] is the record that many descriptor updates share.
//! * [`facts`] carries what the guest answers about the physical device by itself.
//! * [`straight`] decodes a command buffer's commonest records without the tables.
//! * [`texels`] says how much memory a copy between memory and an image takes.
//! * [`record`] frames what travels on the command ring.

pub mod codec;
pub mod cooperative_vector;
pub mod descriptor_update;
pub mod facts;
pub mod generated;
pub mod record;
pub mod rules;
pub mod schema;
pub mod straight;
pub mod texels;
