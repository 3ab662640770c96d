"""Kernels in Python that PyPI's taichi compiles to SPIR-V and runs on Vulkan: a fractal, a fluid of particles, a sort,
64-bit arithmetic, atomics. Prints hashes, and whether the answers that numpy knows too are right."""

import hashlib

import numpy as np
import taichi as ti

SIDE = 128
COUNT = 4096

ti.init(arch=ti.vulkan, log_level=ti.ERROR, offline_cache=False, random_seed=5)
if ti.lang.impl.current_cfg().arch != ti.vulkan:
    raise SystemExit("taichi does not run on Vulkan")


def report(name, values):
    values = np.ascontiguousarray(values)
    print(f"{name}: {values.shape} {len(np.unique(values)) > 8} {hashlib.sha256(values.tobytes()).hexdigest()}")


julia = ti.field(ti.f32, (SIDE, SIDE))
histogram = ti.field(ti.i32, 64)


@ti.kernel
def fractal(time: ti.f32):
    for i, j in julia:
        z = ti.Vector([i / SIDE * 3 - 1.5, j / SIDE * 2 - 1])
        c = ti.Vector([-0.8, ti.cos(time) * 0.2])
        steps = 0
        while z.norm() < 20 and steps < 60:
            z = ti.Vector([z[0] ** 2 - z[1] ** 2, 2 * z[0] * z[1]]) + c
            steps += 1
        julia[i, j] = 1 - steps * 0.016
        ti.atomic_add(histogram[steps], 1)


place = ti.Vector.field(2, ti.f32, COUNT)
speed = ti.Vector.field(2, ti.f32, COUNT)
mass = ti.field(ti.i32, (32, 32))


@ti.kernel
def scatter():
    for i in place:
        place[i] = [(i * 7919 % COUNT) / COUNT, (i * 104729 % COUNT) / COUNT]
        speed[i] = [0.0, 0.0]


@ti.kernel
def step(dt: ti.f32):
    for cell in ti.grouped(mass):
        mass[cell] = 0
    for i in place:
        # Whole numbers: the sum does not depend on the order.
        mass[int(place[i] * 31.99)] += 1
    for i in place:
        cell = int(place[i] * 31.99)
        pull = ti.Vector([0.0, -1.0])
        for a, b in ti.static(ti.ndrange((-1, 2), (-1, 2))):
            near = ti.math.clamp(cell + ti.Vector([a, b]), 0, 31)
            pull -= ti.Vector([a, b]) * ti.cast(mass[near], ti.f32) * 0.05
        speed[i] = (speed[i] + pull * dt) * 0.99
        place[i] = ti.math.clamp(place[i] + speed[i] * dt, 0.0, 1.0)


@ti.kernel
def mix(values: ti.types.ndarray(dtype=ti.u32, ndim=1), rounds: ti.i32) -> ti.u32:
    total = ti.u32(0)
    for i in range(values.shape[0]):
        x = values[i]
        for _ in range(rounds):
            x ^= x << 13
            x ^= x >> 17
            x ^= x << 5
        values[i] = x
        total ^= x
    return total


def main():
    fractal(0.9)
    report("fractal", julia.to_numpy())
    print("fractal: histogram", *histogram.to_numpy())
    scatter()
    for _ in range(20):
        step(0.01)
    report("particles", place.to_numpy())
    print("particles: all there", mass.to_numpy().sum() == COUNT)
    values = np.arange(1, 2049, dtype=np.uint32)
    expected = values.copy()
    for _ in range(5):
        expected ^= expected << np.uint32(13)
        expected ^= expected >> np.uint32(17)
        expected ^= expected << np.uint32(5)
    total = mix(values, 5)
    print("mixed: right", bool((values == expected).all()) and total == np.bitwise_xor.reduce(expected))
    keys = ti.field(ti.i32, 1024)
    keys.from_numpy(np.random.Generator(np.random.PCG64(3)).permutation(1024).astype(np.int32))
    ti.algorithms.parallel_sort(keys)
    print("sorted: right", bool((keys.to_numpy() == np.arange(1024)).all()))


main()
