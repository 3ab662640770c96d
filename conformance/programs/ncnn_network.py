"""Runs a convolutional network of SqueezeNet's shape with ncnn on Vulkan and prints its answer.

The weights come from a seeded generator: nothing is downloaded, and every run has the same network. The same network
on the CPU tells whether the answer makes sense at all; on one device the printed numbers are the same in every run.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

import ncnn
import numpy as np

SIZE = 227
CLASSES = 1000


class Network:
    """ncnn's two files, written layer by layer."""

    def __init__(self, seed):
        self.random = np.random.Generator(np.random.PCG64(seed))
        self.layers = []
        self.blobs = 0
        self.weights = bytearray()

    def layer(self, kind, inputs, outputs, *parameters):
        self.blobs += len(outputs)
        name = f"{kind.lower()}{len(self.layers)}"
        fields = [f"{kind:<16}", f"{name:<20}", str(len(inputs)), str(len(outputs)), *inputs, *outputs, *parameters]
        self.layers.append(" ".join(fields))
        return outputs

    def convolution(self, source, target, channels_in, channels, kernel, stride=1, pad=0, relu=True):
        count = channels * channels_in * kernel * kernel
        scale = np.sqrt(2.0 / (channels_in * kernel * kernel))
        weights = (self.random.standard_normal(count) * scale).astype("<f4")
        biases = (self.random.standard_normal(channels) * 0.05).astype("<f4")
        # Four zero bytes: the weights that follow are plain 32-bit floats.
        self.weights += b"\0\0\0\0" + weights.tobytes() + biases.tobytes()
        parameters = [f"0={channels}", f"1={kernel}", f"3={stride}", f"4={pad}", "5=1", f"6={count}"]
        self.layer("Convolution", [source], [target], *parameters, *(["9=1"] if relu else []))

    def fire(self, source, target, channels_in, squeeze, expand):
        """Squeezes to few channels and expands to many, half by 1x1 and half by 3x3."""
        thin, first, second = f"{target}_thin", f"{target}_thin_a", f"{target}_thin_b"
        self.convolution(source, thin, channels_in, squeeze, 1)
        self.layer("Split", [thin], [first, second])
        self.convolution(first, f"{target}_1x1", squeeze, expand, 1)
        self.convolution(second, f"{target}_3x3", squeeze, expand, 3, pad=1)
        self.layer("Concat", [f"{target}_1x1", f"{target}_3x3"], [target], "0=0")
        return expand * 2

    def pooling(self, source, target):
        self.layer("Pooling", [source], [target], "0=0", "1=3", "2=2")

    def write(self, folder):
        text = f"7767517\n{len(self.layers)} {self.blobs}\n" + "\n".join(self.layers) + "\n"
        (folder / "network.param").write_text(text)
        (folder / "network.bin").write_bytes(self.weights)


def squeezenet(seed):
    network = Network(seed)
    network.layer("Input", [], ["data"], f"0={SIZE}", f"1={SIZE}", "2=3")
    network.convolution("data", "conv1", 3, 64, 3, stride=2)
    network.pooling("conv1", "pool1")
    channels = network.fire("pool1", "fire2", 64, 16, 64)
    channels = network.fire("fire2", "fire3", channels, 16, 64)
    network.pooling("fire3", "pool3")
    channels = network.fire("pool3", "fire4", channels, 32, 128)
    channels = network.fire("fire4", "fire5", channels, 32, 128)
    network.pooling("fire5", "pool5")
    channels = network.fire("pool5", "fire6", channels, 48, 192)
    channels = network.fire("fire6", "fire7", channels, 48, 192)
    channels = network.fire("fire7", "fire8", channels, 64, 256)
    channels = network.fire("fire8", "fire9", channels, 64, 256)
    network.convolution("fire9", "conv10", channels, CLASSES, 1)
    network.layer("Pooling", ["conv10"], ["pool10"], "0=1", "4=1")
    network.layer("Softmax", ["pool10"], ["prob"], "0=0")
    return network


def picture(seed):
    """Smooth blobs and stripes, scaled as a photograph would be."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    random = np.random.Generator(np.random.PCG64(seed))
    channels = []
    for _ in range(3):
        a, b, c, d = random.uniform(2.0, 20.0, 4)
        channels.append(np.sin(a * x + b * y) * np.cos(c * x - d * y))
    return np.ascontiguousarray(np.stack(channels), dtype=np.float32)


def answer(folder, image, vulkan):
    net = ncnn.Net()
    net.opt.use_vulkan_compute = vulkan
    net.opt.num_threads = 1
    if net.load_param(str(folder / "network.param")) or net.load_model(str(folder / "network.bin")):
        sys.exit("ncnn does not take the network")
    extractor = net.create_extractor()
    extractor.input("data", ncnn.Mat(image))
    code, result = extractor.extract("prob")
    if code != 0:
        sys.exit(f"the network failed: {code}")
    values = np.array(result, dtype=np.float32).reshape(-1).copy()
    # The device goes before the next network uses it.
    del extractor, result
    net.clear()
    return values


def main():
    if ncnn.get_gpu_count() == 0:
        sys.exit("no Vulkan device")
    print("device:", ncnn.get_gpu_info(0).device_name())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        squeezenet(20240601).write(folder)
        for seed in (1, 2):
            image = picture(seed)
            gpu = answer(folder, image, True)
            cpu = answer(folder, image, False)
            best = np.argsort(-gpu)[:5]
            print(f"picture {seed}: best", " ".join(f"{i}:{gpu[i].tobytes().hex()}" for i in best))
            print(f"picture {seed}: sum {gpu.sum():.4f}, hash {hashlib.sha256(gpu.tobytes()).hexdigest()}")
            # Half-precision arithmetic on the device: near, not equal.
            print(f"picture {seed}: as on the CPU", bool(np.abs(gpu - cpu).max() < 0.05 * cpu.max() + 1e-4))
    ncnn.destroy_gpu_instance()


main()
