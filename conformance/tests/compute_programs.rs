//! Programs that compute, unmodified: the same numbers natively and through vw.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use vw_conformance::driver::Driver;
use vw_conformance::{or_skip, products, programs};

/// Networks of several shapes with seeded weights, and trained ones, with ncnn.
#[test]
fn ncnn_networks_when_run_through_vw_give_the_same_numbers() {
    let Some(python) = or_skip(products::python("ncnn")) else { return };
    let text = programs::compare(&Driver::lavapipe().unwrap(), || {
        let mut command = Command::new(&python);
        command.arg(products::script("ncnn_networks.py"));
        command
    });
    assert!(text.matches("as on the CPU True").count() >= 9 && !text.contains("False"), "{text}");
    if or_skip(products::installed("waifu2x")).is_some() {
        assert!(text.contains("models-cunet"), "{text}");
    }
}

/// Kernels that taichi compiles.
#[test]
fn taichi_kernels_when_run_through_vw_give_the_same_numbers() {
    let Some(python) = or_skip(products::python("taichi")) else { return };
    let text = programs::compare(&Driver::lavapipe().unwrap(), || {
        let mut command = Command::new(&python);
        command.arg(products::script("taichi_kernels.py"));
        command
    });
    assert_eq!(text.matches("right True").count(), 2, "{text}");
}
